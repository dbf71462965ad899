//! What a service is called when nobody says: by its package, its module or its directory.

use std::ffi::OsStr;
use std::path::Path;

use super::{Launch, Probe, Runtime, Variables, file_name, resource_attribute};

/// Names that say nothing; the directory says more.
const GENERIC: [&str; 12] =
    ["app", "main", "manage", "server", "wsgi", "asgi", "run", "index", "start", "src", "api", "__main__"];
/// Programs whose name is not that of the service.
const TOOLS: [&str; 9] = ["flask", "gunicorn", "uvicorn", "hypercorn", "daphne", "granian", "celery", "fastapi", "uv"];

pub(super) fn name(launch: &Launch, runtime: &Runtime, environment: &Variables, probe: &dyn Probe) -> String {
    if let Some(service) = &launch.service {
        return service.clone();
    }
    if let Some(service) = environment.get(OsStr::new("OTEL_SERVICE_NAME")).filter(|name| !name.is_empty()) {
        return service.to_string_lossy().into_owned();
    }
    if let Some(service) = resource_attribute(environment, "service.name") {
        return service;
    }
    let named = match runtime {
        Runtime::Node { near } => {
            let from = near.as_deref().unwrap_or(&launch.directory);
            package_name(from, probe).or_else(|| of_words(launch))
        }
        _ => of_words(launch),
    };
    let directory = || launch.directory.file_name().map(|name| name.to_string_lossy().into_owned());
    named.or_else(directory).unwrap_or_else(|| "unknown".to_owned())
}

/// `name` of the nearest package.json, without its scope.
fn package_name(from: &Path, probe: &dyn Probe) -> Option<String> {
    let head = from.ancestors().find_map(|at| probe.load_head(&at.join("package.json")))?;
    // The head may be cut off behind the name, so this reads no JSON but looks for the key.
    let text = String::from_utf8_lossy(&head).into_owned();
    let value = text.split("\"name\"").nth(1)?.split('"').nth(1)?;
    let name = value.rsplit('/').next()?.trim();
    (!name.is_empty()).then(|| name.to_owned())
}

/// The first word that names a script, a module or `module:application` and says something.
fn of_words(launch: &Launch) -> Option<String> {
    let words = launch.command.iter().skip(1).filter_map(|word| word.to_str());
    let candidates = words.filter(|word| !word.starts_with('-')).filter_map(|word| {
        let is_script = [".py", ".js", ".mjs", ".cjs", ".ts"].iter().any(|extension| word.ends_with(extension));
        let is_application = word.contains(':') && !word.contains('/') && !word.contains("://");
        if is_script {
            return Path::new(word).file_stem().map(|stem| stem.to_string_lossy().into_owned());
        }
        // `shop.web:app` is of the package `shop`; `127.0.0.1:80` is none.
        let module = word.split(':').next()?.split('.').next()?;
        let is_name = module.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
        (is_application && is_name).then(|| module.to_owned())
    });
    let of_module = module_argument(launch);
    let own = launch.command.first().map(|first| file_name(first)).filter(|_| launch.command.len() == 1);
    let mut named = of_module.into_iter().chain(candidates).chain(own);
    named.find(|name| !GENERIC.contains(&name.as_str()) && !TOOLS.contains(&name.as_str()))
}

/// `shop` of `python -m shop.web`.
fn module_argument(launch: &Launch) -> Option<String> {
    let at = launch.command.iter().position(|word| word == "-m")?;
    let module = launch.command.get(at + 1)?.to_str()?;
    module.split('.').next().map(str::to_owned)
}
