//! `weir run -- CMD`: starts a Python or Node program with OpenTelemetry's own SDK switched on, and gets out of the way.
//!
//! ```text
//! (command, environment, probe) ─▶ plan ─▶ Plan { program, arguments, variables, files, notes } ─▶ exec
//! ```
//! There is no wrapper process: the environment is set and the program takes our place, so signals, exit codes and the
//! process id are its own. What the user has set is never overridden. Nothing is installed: a missing SDK is an error
//! that holds the command which installs it. [`plan`] decides everything and is pure; what it must ask of the machine
//! it asks a [`Probe`].

mod detect;
mod exec;
mod node;
mod python;
mod service;

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

pub use detect::Runtime;
pub use exec::{Machine, exec};
pub use python::PythonFindings;

/// The environment of a process, or changes to it.
pub type Variables = BTreeMap<OsString, OsString>;

/// What `weir run` is asked to do.
#[derive(Clone, Debug)]
pub struct Launch {
    /// `--service`; without it the name is found in the environment or made from the command.
    pub service: Option<String>,
    /// Where the agent takes OTLP/HTTP, as a URL.
    pub endpoint: String,
    /// `service.instance.id`: tells processes of one service apart. The process id stays ours, so it serves.
    pub instance: String,
    /// The directory that the command runs in.
    pub directory: PathBuf,
    /// The command and its arguments.
    pub command: Vec<OsString>,
}

/// What will be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The program, found.
    pub program: PathBuf,
    /// Its arguments, the name it is called by first.
    pub arguments: Vec<OsString>,
    /// Variables to set; all others stay.
    pub variables: Variables,
    /// Files that must exist before.
    pub files: Vec<PlannedFile>,
    /// What a person should know, for standard error.
    pub notes: Vec<String>,
    /// The service name that telemetry will carry.
    pub service: String,
}

/// A small file that belongs to Weir and is written where the user's caches are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedFile {
    /// Where.
    pub path: PathBuf,
    /// What.
    pub content: &'static str,
}

/// What planning asks of the machine.
pub trait Probe {
    /// The executable that `name` means, as a shell finds it.
    fn find_program(&self, name: &OsStr) -> Option<PathBuf>;
    /// The first bytes of a file.
    fn load_head(&self, path: &Path) -> Option<Vec<u8>>;
    /// Whether there is a file.
    fn is_file(&self, path: &Path) -> bool;
    /// What of OpenTelemetry a Python interpreter can import.
    ///
    /// # Errors
    /// What went wrong, in words, when it does not run.
    fn ask_python(&self, interpreter: &Path) -> Result<PythonFindings, String>;
    /// Whether something listens at `HOST:PORT`.
    fn is_listening(&self, address: &str) -> bool;
}

/// Why nothing was started.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// There is no command.
    #[error("no command; write `weir run -- python app.py`")]
    Empty,
    /// There is no such program.
    #[error("{0}: command not found")]
    NotFound(String),
    /// It cannot be observed as it is.
    #[error("{what}\n\nInstall it with:\n\n    {command}\n")]
    MissingSdk {
        /// What is missing, and where it was looked for.
        what: String,
        /// What installs it.
        command: String,
    },
    /// Which program will run cannot be told.
    #[error("{0}")]
    Unclear(String),
    /// The interpreter does not answer.
    #[error("{interpreter}: {message}")]
    Interpreter {
        /// Which.
        interpreter: PathBuf,
        /// What it said.
        message: String,
    },
    /// A file could not be written.
    #[error("{path}: {error}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// The system did not start it.
    #[error("{program}: {error}")]
    Exec {
        /// What.
        program: PathBuf,
        /// Why.
        error: std::io::Error,
    },
}

impl LaunchError {
    /// The exit code that tells callers: 127 and 126 as shells have it, else 2.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::NotFound(_) => 127,
            Self::Exec { error, .. } if error.kind() == std::io::ErrorKind::NotFound => 127,
            Self::Exec { .. } => 126,
            _ => 2,
        }
    }
}

/// Decides what to start and with which variables.
///
/// # Errors
/// When there is no such program, or its SDK is missing.
pub fn plan(launch: &Launch, environment: &Variables, probe: &dyn Probe) -> Result<Plan, LaunchError> {
    let (program, runtime) = detect::detect(launch, environment, probe)?;
    let mut draft = Draft::new(environment);
    let service = service::name(launch, &runtime, environment, probe);
    put_common(launch, &service, &mut draft);
    match &runtime {
        Runtime::Python { interpreter } => python::put(interpreter, probe, &mut draft)?,
        Runtime::Node { near } => node::put(launch, near, probe, &mut draft)?,
        Runtime::Other => draft.notes.push(format!(
            "{} is neither Python nor Node; it gets the OTEL_* variables, its own SDK must do the rest",
            program.display()
        )),
    }
    note_silence(launch, probe, &mut draft);
    let Draft { variables, files, notes, .. } = draft;
    Ok(Plan { program, arguments: launch.command.clone(), variables, files, notes, service })
}

/// A plan in the making. Never sets what the user has set, not even to nothing.
struct Draft<'e> {
    environment: &'e Variables,
    variables: Variables,
    files: Vec<PlannedFile>,
    notes: Vec<String>,
}

impl<'e> Draft<'e> {
    fn new(environment: &'e Variables) -> Self {
        Self { environment, variables: Variables::new(), files: Vec::new(), notes: Vec::new() }
    }

    fn is_set(&self, name: &str) -> bool {
        self.environment.contains_key(OsStr::new(name))
    }

    fn set_default(&mut self, name: &str, value: impl Into<OsString>) {
        if !self.is_set(name) {
            self.variables.insert(name.into(), value.into());
        }
    }

    /// Sets `name` to `value`, `between` and what it was before; to `value` alone when it was empty.
    fn prepend(&mut self, name: &str, value: impl Into<OsString>, between: &str) {
        let mut joined = value.into();
        if let Some(old) = self.environment.get(OsStr::new(name)).filter(|old| !old.is_empty()) {
            joined.push(between);
            joined.push(old);
        }
        self.variables.insert(name.into(), joined);
    }
}

/// What every SDK understands.
fn put_common(launch: &Launch, service: &str, draft: &mut Draft<'_>) {
    let named_in_resource = resource_attribute(draft.environment, "service.name").is_some();
    if launch.service.is_some() {
        draft.variables.insert("OTEL_SERVICE_NAME".into(), service.into());
    } else if !named_in_resource {
        draft.set_default("OTEL_SERVICE_NAME", service);
    }
    // An endpoint of the user's own speaks a protocol of the user's own.
    if !draft.is_set("OTEL_EXPORTER_OTLP_ENDPOINT") {
        draft.set_default("OTEL_EXPORTER_OTLP_ENDPOINT", &launch.endpoint);
        draft.set_default("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf");
    }
    draft.set_default("OTEL_TRACES_EXPORTER", "otlp");
    draft.set_default("OTEL_METRICS_EXPORTER", "otlp");
    // Weir does not store logs yet; without this every SDK would send them and be refused.
    draft.set_default("OTEL_LOGS_EXPORTER", "none");
    // The defaults are 60 s and 5 s: too long for someone who has just started a service and looks for it.
    if !draft.is_set("OTEL_METRIC_EXPORT_INTERVAL") {
        draft.set_default("OTEL_METRIC_EXPORT_INTERVAL", "15000");
        // Node's SDK does not start when the timeout (30 s) is longer than the interval.
        draft.set_default("OTEL_METRIC_EXPORT_TIMEOUT", "10000");
    }
    draft.set_default("OTEL_BSP_SCHEDULE_DELAY", "1000");
    if resource_attribute(draft.environment, "service.instance.id").is_none() {
        let instance = format!("service.instance.id={}", launch.instance);
        draft.prepend("OTEL_RESOURCE_ATTRIBUTES", instance, ",");
    }
}

/// Says that nobody listens, when it is our endpoint: the program runs all the same, and its SDK tries again.
fn note_silence(launch: &Launch, probe: &dyn Probe, draft: &mut Draft<'_>) {
    let is_ours = draft.variables.contains_key(OsStr::new("OTEL_EXPORTER_OTLP_ENDPOINT"));
    let address = launch.endpoint.trim_start_matches("http://").trim_end_matches('/');
    if is_ours && !probe.is_listening(address) {
        draft.notes.push(format!("nothing listens at {} yet; start `weir up` or `weir agent`", launch.endpoint));
    }
}

/// The value of `key` in `OTEL_RESOURCE_ATTRIBUTES`.
fn resource_attribute(environment: &Variables, key: &str) -> Option<String> {
    let attributes = environment.get(OsStr::new("OTEL_RESOURCE_ATTRIBUTES"))?.to_str()?;
    let pairs = attributes.split(',').filter_map(|pair| pair.split_once('='));
    pairs.map(|(name, value)| (name.trim(), value.trim())).find(|(name, _)| *name == key).map(|(_, v)| v.to_owned())
}

/// The last part of a path, as text.
fn file_name(path: &OsStr) -> String {
    Path::new(path).file_name().unwrap_or_default().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests;
