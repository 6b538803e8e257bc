//! `frontdesk chat`: the same dialogue and tools, typed instead of spoken.

use super::environment::Inputs;
use super::{ChatArgs, data, stack};
use crate::app;
use crate::call::dialogue::actor::DialogueActor;
use crate::call::dialogue::messages::{Answer, DialogueEvent, Heard, Then, Thought};
use crate::call::mind::{Whose, make};
use crate::call::services::CallServices;
use crate::call::supervision::spawn_guarded;
use crate::call::traced::Turns;
use crate::config::server::ServerConfig;
use crate::db::{DbHandle, Presence};
use crate::dialogue::phrases;
use crate::domain::call::{CallFacts, CallKind, Direction};
use crate::domain::ids::{AdmissionId, CallSid, Epoch, Generation, ReplyId};
use crate::domain::phone::CallerId;
use crate::observe::clock::unix_now;
use crate::observe::log;
use crate::observe::secrets::Scrubber;
use crate::sim::vendors::{Vendors, VendorsConfig};
use actix::{Actor, Addr, Context, Handler};
use anyhow::Context as _;
use secrecy::ExposeSecret as _;
use std::io::{BufRead as _, Write as _};
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::Instant;

/// How often a conversation says that it is there.
const HEARTBEAT: Duration = Duration::from_secs(2);

/// Passes what the mind comes to on to the terminal.
struct Screen(mpsc::UnboundedSender<Thought>);

impl Actor for Screen {
    type Context = Context<Self>;
}

impl Handler<DialogueEvent> for Screen {
    type Result = ();

    fn handle(&mut self, event: DialogueEvent, _: &mut Self::Context) {
        // The terminal went away: so does the chat.
        let _ = self.0.send(event.thought);
    }
}

/// Starts a chat with the configured model, or with the simulated one if there is no key.
pub fn run(args: &ChatArgs, inputs: &Inputs) -> anyhow::Result<ExitCode> {
    let loaded = inputs.load();
    let mut config = loaded.config;
    let path = args.profile.as_deref().map(|p| p.to_string_lossy().into_owned());
    let business = data::business(path.as_deref().or(config.server.business_profile.as_deref()))?;
    log::init(&ServerConfig { log: "warn".into(), ..ServerConfig::default() }, Scrubber::of(&config))?;
    actix_web::rt::System::new().block_on(async move {
        let simulated = config.llm.primary.api_key.expose_secret().is_empty();
        let vendors = if simulated {
            println!("OPENAI_API_KEY is not set: the simulated model answers.");
            let vendors = Vendors::start(VendorsConfig::default(), None)?;
            stack::use_vendors(&mut config, &vendors);
            Some(vendors)
        } else {
            None
        };
        let desk = app::desk(config, business).await?;
        let services = desk.services();
        let here = actix_rt::spawn(be_there(services.db.clone()));
        let talked = talk(Rc::clone(&services)).await;
        here.abort();
        if let Err(error) = services.db.leave().await {
            tracing::debug!(%error, "the conversation is left to whoever finds it");
        }
        drop(services);
        desk.close().await;
        drop(vendors);
        talked.map(|()| ExitCode::SUCCESS)
    })
}

/// Says that somebody has the conversation: a server on the same database would take it over.
async fn be_there(db: DbHandle) {
    loop {
        let version = env!("CARGO_PKG_VERSION").to_owned();
        // It takes no calls from others.
        let me = Presence { id: db.replica().clone(), version, calls: 1, draining: true };
        if let Err(error) = db.heartbeat(me).await {
            tracing::debug!(%error, "nobody knows that this conversation is there");
        }
        tokio::time::sleep(HEARTBEAT).await;
    }
}

/// Talks with whoever types on standard input, until they leave or the bot ends the conversation.
async fn talk(services: Rc<CallServices>) -> anyhow::Result<()> {
    let (tell, mut thoughts) = mpsc::unbounded_channel();
    let screen = Screen(tell).start();
    let facts = CallFacts {
        sid: CallSid::new(format!("chat-{:08x}", rand::random::<u32>())),
        admission: AdmissionId::from("chat"),
        kind: CallKind::Simulated,
        direction: Direction::Inbound,
        caller: CallerId::Withheld,
        business_number: services.config.twilio.phone_number.clone(),
        admitted_at: unix_now(),
        epoch: Epoch(1),
    };
    services
        .db
        .write(crate::db::Write::CallAdmitted { facts: facts.clone() })
        .await
        .context("the conversation cannot be recorded")?;
    let whose = Whose {
        brief: None,
        services: &services,
        facts: &facts,
        customer: None,
        known: None,
        events: screen.recipient(),
        meter: Rc::default(),
        turns: Turns::default(),
        t0: Instant::now(),
    };
    let (mind, _task) = spawn_guarded(make(Generation(1), whose, None), 64, |panicked| {
        if panicked {
            tracing::error!("the dialogue panicked");
        }
    });
    println!("bot> {}", phrases::greeting(&services.profile, None));
    println!("     (an empty line or Ctrl-D ends the conversation)");
    let mut lines = typed_lines();
    let mut reply = ReplyId(0);
    loop {
        prompt();
        let Some(line) = lines.recv().await else { break };
        let text = line.trim().to_owned();
        if text.is_empty() {
            break;
        }
        reply = reply.next();
        mind.send(Answer { reply, text }).await.context("the dialogue is gone")?;
        if !listen(reply, &mut thoughts, &mind).await {
            break;
        }
    }
    services
        .db
        .write(crate::db::Write::CallEnded {
            sid: facts.sid,
            at: unix_now(),
            reason: crate::domain::call::EndReason::Completed,
            outcome: crate::domain::call::Outcome::default(),
        })
        .await
        .context("the end of the conversation cannot be recorded")
}

/// Prints one reply. Answers whether the conversation goes on.
async fn listen(
    reply: ReplyId,
    thoughts: &mut mpsc::UnboundedReceiver<Thought>,
    mind: &Addr<DialogueActor>,
) -> bool {
    let mut said = String::new();
    while let Some(thought) = thoughts.recv().await {
        match thought {
            Thought::Sentence { reply: of, text, .. } if of == reply => {
                println!("bot> {text}");
                if !said.is_empty() {
                    said.push(' ');
                }
                said.push_str(&text);
            }
            Thought::ToolStarted { name, .. } => println!("     [{name}]"),
            Thought::Done { reply: of, then } if of == reply => {
                mind.do_send(Heard { reply, text: said });
                return match then {
                    Then::Listen => true,
                    Then::HangUp { .. } => {
                        println!("     (the bot hangs up)");
                        false
                    }
                    Then::Transfer => {
                        println!("     (the caller would be connected to a person)");
                        false
                    }
                };
            }
            Thought::Failed { reply: of, code } if of == reply => {
                println!("     (no answer: {code})");
                return true;
            }
            Thought::Sentence { .. }
            | Thought::Done { .. }
            | Thought::Failed { .. }
            | Thought::FirstToken { .. }
            | Thought::Achieved(_)
            | Thought::Fact(_)
            | Thought::Summary(_)
            | Thought::Audit(_) => {}
        }
    }
    false
}

fn prompt() {
    print!("you> ");
    let _ = std::io::stdout().flush();
}

/// Lines of standard input, read on a thread of their own: reading a terminal blocks.
fn typed_lines() -> mpsc::Receiver<String> {
    let (tell, lines) = mpsc::channel(1);
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines() {
            let Ok(line) = line else { break };
            if tell.blocking_send(line).is_err() {
                break;
            }
        }
    });
    lines
}
