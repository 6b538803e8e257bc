//! The command line's entry: reads what is asked for and hands it to `frontdesk::cli`.

use frontdesk::cli::{self, Command, SimulateCommand};
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    small_pages();
    match run(cli::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("frontdesk: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Memory in pages of 4 KiB. The allocator gives every thread an area of its own, of which a huge page would take 2 MiB at
/// the first touch: 40 MB for a server without calls. That it cannot be told is no reason not to start.
fn small_pages() {
    #[cfg(target_os = "linux")]
    let _ = rustix::thread::disable_transparent_huge_pages(true);
}

fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Serve => cli::serve::run(&cli::environment::read()),
        Command::Demo(demo) => cli::demo::run(&demo),
        Command::Simulate(SimulateCommand::Vendors(vendors)) => cli::simulate::vendors(&vendors),
        Command::Simulate(SimulateCommand::Call(call)) => cli::simulate::call(&call),
        Command::Simulate(SimulateCommand::Load(load)) => cli::load::run(&load),
        Command::Simulate(SimulateCommand::Soak(soak)) => cli::soak::run(&soak),
        Command::Simulate(SimulateCommand::Drill(drill)) => cli::drill::run(&drill),
        Command::Simulate(SimulateCommand::Replicas(replicas)) => cli::replicas::run(&replicas),
        Command::Simulate(SimulateCommand::Api(api)) => cli::api_bench::run(&api, &cli::environment::read()),
        Command::Chat(chat) => cli::chat::run(&chat, &cli::environment::read()),
        Command::CheckConfig => {
            let fine = cli::check_config::run(&cli::environment::read(), &mut std::io::stdout())?;
            Ok(if fine { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        Command::Backup(backup) => cli::backup::run(&backup.file, &cli::environment::read()),
        Command::Health(health) => cli::health::run(&health, &cli::environment::read()),
        Command::Migrate => cli::data::migrate(&cli::environment::read()),
        Command::Seed(seed) => cli::data::fill(&seed, &cli::environment::read()),
        Command::Keys(keys) => cli::access::keys_command(&cli::environment::read(), &keys),
        Command::Users(users) => cli::access::users_command(&cli::environment::read(), &users),
        Command::Import(old) => cli::data::take_over(&cli::environment::read(), &old.file),
    }
}
