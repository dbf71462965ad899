//! Node: a small file of ours is required before the program, which requires OpenTelemetry's own `register` and mends
//! what that does to SIGTERM (`register.cjs` says how).
//!
//! The packages are found on disk as Node finds them, from the script and from the working directory upwards, then in
//! `NODE_PATH` and beside the `node` program; no Node is started for it.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use super::{Draft, Launch, LaunchError, PlannedFile, Probe};

/// What is required before the program.
pub(super) const REGISTER: &str = include_str!("register.cjs");
/// Its path below a `node_modules`.
const UPSTREAM: &str = "@opentelemetry/auto-instrumentations-node/build/src/register.js";
/// All but those that ask a cloud's metadata server: outside of that cloud they hold up the first export by seconds and
/// print warnings among the program's own lines.
const DETECTORS: &str = "env,host,os,process,container";
const PACKAGES: &str = "@opentelemetry/api @opentelemetry/auto-instrumentations-node";

pub(super) fn put(
    launch: &Launch,
    near: &Option<PathBuf>,
    probe: &dyn Probe,
    draft: &mut Draft<'_>,
) -> Result<(), LaunchError> {
    let Some(upstream) = find_register(launch, near.as_deref(), probe, draft) else {
        return Err(LaunchError::MissingSdk {
            what: format!(
                "no OpenTelemetry SDK for Node: @opentelemetry/auto-instrumentations-node is not in {} or above it",
                near.as_ref().unwrap_or(&launch.directory).join("node_modules").display()
            ),
            command: install_command(launch, probe),
        });
    };
    let path = cache_directory(draft).join(concat!("register-", env!("CARGO_PKG_VERSION"), ".cjs"));
    let mut options = std::ffi::OsString::new();
    if let Some(old) = draft.environment.get(OsStr::new("NODE_OPTIONS")).filter(|old| !old.is_empty()) {
        options.push(old);
        options.push(" ");
    }
    options.push("--require ");
    options.push(quoted(&path));
    draft.variables.insert("NODE_OPTIONS".into(), options);
    draft.variables.insert("WEIR_NODE_REGISTER".into(), upstream.into_os_string());
    draft.set_default("OTEL_NODE_RESOURCE_DETECTORS", DETECTORS);
    draft.files.push(PlannedFile { path, content: REGISTER });
    Ok(())
}

fn find_register(launch: &Launch, near: Option<&Path>, probe: &dyn Probe, draft: &Draft<'_>) -> Option<PathBuf> {
    let upwards = |from: &Path| from.ancestors().map(|at| at.join("node_modules")).collect::<Vec<_>>();
    let mut roots = near.map(upwards).unwrap_or_default();
    roots.extend(upwards(&launch.directory));
    if let Some(paths) = draft.environment.get(OsStr::new("NODE_PATH")) {
        roots.extend(std::env::split_paths(paths));
    }
    // Globally installed packages lie beside the program: /usr/bin/node, /usr/lib/node_modules.
    if let Some(node) = probe.find_program(OsStr::new("node")) {
        roots.extend(node.ancestors().skip(2).take(1).map(|prefix| prefix.join("lib/node_modules")));
    }
    roots.into_iter().map(|root| root.join(UPSTREAM)).find(|path| probe.is_file(path))
}

/// By the lock file that the project has.
fn install_command(launch: &Launch, probe: &dyn Probe) -> String {
    let has = |name: &str| launch.directory.ancestors().any(|at| probe.is_file(&at.join(name)));
    let add = if has("pnpm-lock.yaml") {
        "pnpm add"
    } else if has("yarn.lock") {
        "yarn add"
    } else {
        "npm install"
    };
    format!("{add} {PACKAGES}")
}

/// Where files of ours may lie: the user's caches, else a directory of the temporary ones.
fn cache_directory(draft: &Draft<'_>) -> PathBuf {
    let of = |name: &str| draft.environment.get(OsStr::new(name)).filter(|value| !value.is_empty()).map(PathBuf::from);
    let cache = of("XDG_CACHE_HOME").or_else(|| of("HOME").map(|home| home.join(".cache")));
    cache.filter(|path| path.is_absolute()).map_or_else(
        || of("TMPDIR").unwrap_or_else(|| "/tmp".into()).join(format!("weir-{}", rustix::process::getuid().as_raw())),
        |cache| cache.join("weir"),
    )
}

/// `NODE_OPTIONS` is divided at spaces, but for those in double quotes.
fn quoted(path: &Path) -> String {
    let text = path.to_string_lossy();
    if text.contains([' ', '"', '\\']) {
        return format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""));
    }
    text.into_owned()
}
