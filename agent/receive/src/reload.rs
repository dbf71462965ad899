//! Reloading the configuration: `SIGHUP` and `POST /-/reload`, as Prometheus has them.
//!
//! ```text
//! SIGHUP ────────────┐
//! POST /-/reload ────┴─▶ Reloads::asked ─▶ whoever owns the configuration ─▶ Asked::answer ─▶ 200, or 500 and why
//! ```
//! The edge only asks: what a reload does is known where the process is wired. A reload that fails changes nothing, says
//! so on `weir_config_last_reload_successful`, and the old configuration goes on.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use http::StatusCode;
use metrics::gauge;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, oneshot};
use weir_proto::names;

/// Reloads that may be asked for at once; more wait.
const ASKED_MAX: usize = 4;

/// What a reload came to: what cannot change without a restart, a line each; or why nothing changed.
pub type Reloaded = Result<Vec<String>, String>;

/// The way to ask. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Reload {
    ask: mpsc::Sender<oneshot::Sender<Reloaded>>,
    last: Arc<Last>,
}

#[derive(Debug)]
struct Last {
    successful: AtomicBool,
    /// When one last succeeded, the start being one.
    success_ms: AtomicI64,
}

/// The end that is asked. One owner.
#[derive(Debug)]
pub struct Reloads {
    asked: mpsc::Receiver<oneshot::Sender<Reloaded>>,
    hangup: Signal,
    last: Arc<Last>,
    now_ms: fn() -> i64,
}

/// Somebody wants a reload.
#[must_use = "whoever asked waits for an answer"]
#[derive(Debug)]
pub struct Asked {
    /// Nobody waits for the outcome of a signal.
    answer: Option<oneshot::Sender<Reloaded>>,
    last: Arc<Last>,
    now_ms: i64,
}

/// A line for each setting that a reload wants otherwise and only a restart can change.
#[must_use]
pub fn needs_restart<const N: usize>(
    running: &[(&'static str, String); N],
    wanted: &[(&'static str, String); N],
) -> Vec<String> {
    let differ = running.iter().zip(wanted).filter(|(running, wanted)| running != wanted);
    differ.map(|((name, is), (_, wants))| format!("{name} stays {is} until a restart; the file says {wants}")).collect()
}

/// A way to ask, and the end that is asked; begins to listen for SIGHUP. `now_ms` tells the time.
///
/// # Errors
/// When the signal cannot be listened for.
pub fn reloads(now_ms: fn() -> i64) -> io::Result<(Reload, Reloads)> {
    let hangup = signal(SignalKind::hangup())?;
    let (ask, asked) = mpsc::channel(ASKED_MAX);
    let last = Arc::new(Last { successful: AtomicBool::new(true), success_ms: AtomicI64::new(now_ms()) });
    last.publish();
    Ok((Reload { ask, last: Arc::clone(&last) }, Reloads { asked, hangup, last, now_ms }))
}

impl Reload {
    /// `POST /-/reload`.
    pub fn router(&self) -> Router {
        let method = post(on_post).put(on_post);
        Router::new().route("/-/reload", method).with_state(self.clone())
    }

    /// Whether the last reload was successful, and when one last was, ms.
    #[must_use]
    pub fn last(&self) -> (bool, i64) {
        (self.last.successful.load(Ordering::Relaxed), self.last.success_ms.load(Ordering::Relaxed))
    }
}

impl Reloads {
    /// Resolves when a reload is asked for. Cancel safe.
    pub async fn asked(&mut self) -> Asked {
        let answer = tokio::select! {
            Some(answer) = self.asked.recv() => Some(answer),
            _ = self.hangup.recv() => None,
        };
        Asked { answer, last: Arc::clone(&self.last), now_ms: (self.now_ms)() }
    }
}

impl Asked {
    /// Tells whoever asked, the log and our metrics.
    pub fn answer(self, reloaded: Reloaded) {
        match &reloaded {
            Ok(needs_restart) => {
                tracing::info!("the configuration was reloaded");
                for what in needs_restart {
                    tracing::warn!("{what}");
                }
                self.last.success_ms.store(self.now_ms, Ordering::Relaxed);
            }
            Err(reason) => tracing::error!(reason, "the configuration was not reloaded; the old one goes on"),
        }
        self.last.successful.store(reloaded.is_ok(), Ordering::Relaxed);
        self.last.publish();
        if let Some(answer) = self.answer {
            // It may have hung up.
            answer.send(reloaded).ok();
        }
    }
}

impl Last {
    #[expect(clippy::cast_precision_loss, reason = "a gauge is a float; ms since 1970 fit")]
    fn publish(&self) {
        gauge!(names::CONFIG_RELOAD_SUCCESSFUL).set(f64::from(u8::from(self.successful.load(Ordering::Relaxed))));
        gauge!(names::CONFIG_RELOAD_SUCCESS_TIME).set(self.success_ms.load(Ordering::Relaxed) as f64 / 1000.0);
    }
}

async fn on_post(State(reload): State<Reload>) -> Response {
    let (answer, answered) = oneshot::channel();
    if reload.ask.send(answer).await.is_err() {
        return (StatusCode::SERVICE_UNAVAILABLE, "shutting down\n").into_response();
    }
    match answered.await {
        Ok(Ok(needs_restart)) => {
            needs_restart.iter().map(|what| format!("{what}\n")).collect::<String>().into_response()
        }
        Ok(Err(reason)) => {
            (StatusCode::INTERNAL_SERVER_ERROR, format!("failed to reload config: {reason}\n")).into_response()
        }
        Err(_) => (StatusCode::SERVICE_UNAVAILABLE, "shutting down\n").into_response(),
    }
}
