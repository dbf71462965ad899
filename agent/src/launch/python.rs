//! Python: `opentelemetry.instrumentation.auto_instrumentation` holds a `sitecustomize` that starts the SDK in any
//! interpreter which finds it on `PYTHONPATH`.
//!
//! Only that directory is put there, not the whole site-packages: a child that runs another Python would otherwise
//! import packages that were built for this one.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::{Draft, LaunchError, Probe};

/// What of OpenTelemetry an interpreter can import; printed as JSON by [`QUESTION`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct PythonFindings {
    /// The directory of `opentelemetry.instrumentation.auto_instrumentation`; empty when it is not installed.
    pub auto: String,
    /// Whether `opentelemetry.distro` is there, without which nothing configures the SDK.
    pub distro: bool,
    /// Whether the OTLP/HTTP exporter is there.
    pub http: bool,
    /// Whether the OTLP/gRPC exporter is there.
    pub grpc: bool,
    /// How many instrumentations of libraries are installed.
    pub instrumentors: u32,
    /// Whether pip is there; uv's environments have none.
    pub pip: bool,
    /// Where scripts like `opentelemetry-bootstrap` are.
    pub scripts: PathBuf,
}

/// Asked of the interpreter: prints [`PythonFindings`]. Works from Python 3.8 on; imports only the parents' packages.
pub(super) const QUESTION: &str = r#"
import importlib.util, json, sysconfig
def where(name):
    try:
        spec = importlib.util.find_spec(name)
        return list(spec.submodule_search_locations or [""])[0] if spec else ""
    except Exception:
        return ""
def count():
    from importlib.metadata import entry_points
    try:
        return len(list(entry_points(group="opentelemetry_instrumentor")))
    except TypeError:
        return len(entry_points().get("opentelemetry_instrumentor", []))
print(json.dumps({
    "auto": where("opentelemetry.instrumentation.auto_instrumentation"),
    "distro": bool(where("opentelemetry.distro")),
    "http": bool(where("opentelemetry.exporter.otlp.proto.http")),
    "grpc": bool(where("opentelemetry.exporter.otlp.proto.grpc")),
    "instrumentors": count(),
    "pip": bool(where("pip")),
    "scripts": sysconfig.get_path("scripts"),
}))
"#;

const DISTRO: &str = "opentelemetry-distro";
const HTTP_EXPORTER: &str = "opentelemetry-exporter-otlp-proto-http";
/// Reads the host in every process, and the agent does so once.
const DISABLED: &str = "system_metrics";

pub(super) fn put(interpreter: &Path, probe: &dyn Probe, draft: &mut Draft<'_>) -> Result<(), LaunchError> {
    let findings = probe
        .ask_python(interpreter)
        .map_err(|message| LaunchError::Interpreter { interpreter: interpreter.to_path_buf(), message })?;
    let ours = draft.variables.contains_key(std::ffi::OsStr::new("OTEL_EXPORTER_OTLP_PROTOCOL"));
    let exporter = if ours { findings.http || findings.grpc } else { true };
    let mut missing = Vec::new();
    if findings.auto.is_empty() || !findings.distro {
        missing.push(DISTRO);
    }
    if !exporter {
        missing.push(HTTP_EXPORTER);
    }
    if !missing.is_empty() {
        return Err(LaunchError::MissingSdk {
            what: format!("{} has no OpenTelemetry SDK: {} missing", interpreter.display(), missing.join(" and ")),
            command: install_command(interpreter, &findings, &missing),
        });
    }
    if ours && !findings.http {
        // Only the gRPC exporter is installed; the agent's ports answer both protocols.
        draft.variables.insert("OTEL_EXPORTER_OTLP_PROTOCOL".into(), "grpc".into());
    }
    if findings.instrumentors == 0 {
        draft.notes.push(format!(
            "no instrumentation of libraries is installed, so there will be few spans; install it with: {}",
            bootstrap_command(interpreter, &findings)
        ));
    }
    draft.prepend("PYTHONPATH", findings.auto.as_str(), ":");
    draft.set_default("OTEL_PYTHON_DISABLED_INSTRUMENTATIONS", DISABLED);
    Ok(())
}

/// Installs the SDK, then what the installed libraries need.
fn install_command(interpreter: &Path, findings: &PythonFindings, missing: &[&str]) -> String {
    let interpreter_text = interpreter.display();
    let packages = missing.join(" ");
    let install = match findings.pip {
        true => format!("{interpreter_text} -m pip install {packages}"),
        false => format!("uv pip install --python {interpreter_text} {packages}"),
    };
    format!("{install}\n    {}", bootstrap_command(interpreter, findings))
}

fn bootstrap_command(interpreter: &Path, findings: &PythonFindings) -> String {
    let bootstrap = findings.scripts.join("opentelemetry-bootstrap");
    match findings.pip {
        true => format!("{} -a install", bootstrap.display()),
        false => format!(
            "{} -a requirements | uv pip install --python {} --requirement -",
            bootstrap.display(),
            interpreter.display()
        ),
    }
}
