//! `frontdesk serve`: answers calls until it is told to stop.

use super::check_config::mistakes;
use super::environment::{Inputs, read_profile};
use crate::app;
use crate::config::Config;
use crate::config::secret_file;
use crate::observe::secrets::Scrubber;
use crate::observe::{log, trace};
use anyhow::Context as _;
use std::net::TcpListener;
use std::path::Path;
use std::process::ExitCode;
use tokio::signal::unix::{SignalKind, signal};

/// Serves until SIGTERM or SIGINT: the first drains, a second stops at once.
pub fn run(inputs: &Inputs) -> anyhow::Result<ExitCode> {
    let loaded = inputs.load();
    let wrong = mistakes(&loaded);
    if !wrong.is_empty() {
        for mistake in &wrong {
            eprintln!("frontdesk: {mistake}");
        }
        eprintln!("frontdesk: to see it work without any key, run `frontdesk demo`");
        return Ok(ExitCode::FAILURE);
    }
    let mut config = loaded.config;
    // The secret first: what is kept out of the log has to be known to it.
    ensure_secret(&mut config)?;
    let (carrier, traces) = trace::start(&config.observe)?;
    log::init_with(&config.server, Scrubber::of(&config), carrier)?;
    let path = config.server.business_profile.clone().context("BUSINESS_PROFILE is not set")?;
    let profile = read_profile(Path::new(&path)).map_err(|problems| {
        anyhow::anyhow!("{path}: {}", problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
    })?;
    let address = (config.server.host.as_str(), config.server.port);
    let listener = TcpListener::bind(address)
        .with_context(|| format!("cannot listen on {}:{} (HOST, PORT)", address.0, address.1))?;
    let served = actix_web::rt::System::new().block_on(async move {
        // First of all: as process 1 of a container it would otherwise not be told to stop while it starts.
        let mut term = signal(SignalKind::terminate()).context("no signal handler")?;
        let mut int = signal(SignalKind::interrupt()).context("no signal handler")?;
        // Where there is no certificate to be read anew it means nothing, instead of the end.
        let _hup = signal(SignalKind::hangup()).context("no signal handler")?;
        let server = tokio::select! {
            server = app::run(config, profile, listener) => server?,
            _ = term.recv() => return Ok(ExitCode::SUCCESS),
            _ = int.recv() => return Ok(ExitCode::SUCCESS),
        };
        tokio::select! {
            _ = term.recv() => tracing::info!("told to stop: draining"),
            _ = int.recv() => tracing::info!("interrupted: draining"),
        }
        let hurry = async {
            tokio::select! {
                _ = term.recv() => tracing::warn!("told to stop again: not waiting for calls"),
                _ = int.recv() => tracing::warn!("interrupted again: not waiting for calls"),
            }
        };
        server.drain(hurry).await;
        Ok(ExitCode::SUCCESS)
    });
    traces.stop();
    served
}

/// On one machine the secret is kept beside the database; several need a common one.
fn ensure_secret(config: &mut Config) -> anyhow::Result<()> {
    if config.server.secret.is_some() {
        return Ok(());
    }
    if let Some(path) = config.database.url.strip_prefix("sqlite://") {
        config.server.secret = Some(secret_file::load_or_create(Path::new(path))?);
    }
    Ok(())
}
