//! Which runtime a command will start, told from its name, what follows it, and the first line of its file.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use super::{Launch, LaunchError, Probe, Variables, file_name};

/// What the program is written in, as far as it matters here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Runtime {
    /// Python, by this interpreter.
    Python {
        /// Asked for its SDK.
        interpreter: PathBuf,
    },
    /// Node, or something that starts Node.
    Node {
        /// The directory of its script, where that is known: packages are looked for from there upwards.
        near: Option<PathBuf>,
    },
    /// Something else.
    Other,
}

/// Programs that start another one with the arguments that follow, and the options of theirs that take a value.
const PREFIXES: [(&str, &[&str]); 7] = [
    ("env", &["-u", "--unset", "-C", "--chdir"]),
    ("nohup", &[]),
    ("setsid", &[]),
    ("tini", &["-p", "-e"]),
    ("dumb-init", &["-r", "--rewrite"]),
    ("nice", &["-n", "--adjustment"]),
    ("time", &["-f", "--format", "-o", "--output"]),
];
/// Programs that run a Python program in the project's virtual environment.
const PYTHON_RUNNERS: [&str; 6] = ["uv", "poetry", "pipenv", "pdm", "hatch", "rye"];
/// Programs that are, or end up in, Node.
const NODE_PROGRAMS: [&str; 10] = ["node", "nodejs", "npm", "npx", "yarn", "yarnpkg", "pnpm", "pnpx", "tsx", "ts-node"];
/// Python programs whose version manager puts a shell script in their place.
const PYTHON_TOOLS: [&str; 11] = [
    "flask",
    "gunicorn",
    "uvicorn",
    "hypercorn",
    "daphne",
    "granian",
    "celery",
    "django-admin",
    "fastapi",
    "streamlit",
    "waitress-serve",
];
/// How many programs may stand before the one that counts.
const PREFIXES_MAX: usize = 8;

/// The program that `launch` names, and what it will turn into.
pub(super) fn detect(
    launch: &Launch,
    environment: &Variables,
    probe: &dyn Probe,
) -> Result<(PathBuf, Runtime), LaunchError> {
    let first = launch.command.first().ok_or(LaunchError::Empty)?;
    let program =
        probe.find_program(first).ok_or_else(|| LaunchError::NotFound(first.to_string_lossy().into_owned()))?;
    let command = innermost(&launch.command);
    let Some(name) = command.first() else { return Ok((program, Runtime::Other)) };
    let runtime = runtime_of(name, &command[1..], launch, (environment, probe))?;
    Ok((program, runtime))
}

fn runtime_of(
    name: &OsStr,
    arguments: &[OsString],
    launch: &Launch,
    (environment, probe): (&Variables, &dyn Probe),
) -> Result<Runtime, LaunchError> {
    let short = file_name(name);
    if is_python(&short) {
        let interpreter = probe.find_program(name).ok_or(LaunchError::NotFound(short))?;
        return Ok(Runtime::Python { interpreter });
    }
    if PYTHON_RUNNERS.contains(&short.as_str()) && arguments.iter().any(|argument| argument == "run") {
        return of_runner(&short, launch, (environment, probe));
    }
    if NODE_PROGRAMS.contains(&short.as_str()) {
        return Ok(Runtime::Node { near: script_directory(arguments, launch, probe) });
    }
    let Some(path) = probe.find_program(name) else { return Ok(Runtime::Other) };
    let Some(head) = probe.load_head(&path) else { return Ok(Runtime::Other) };
    match interpreter_of(&head) {
        Some(interpreter) if is_python(&file_name(interpreter.as_os_str())) => {
            let found = probe.find_program(interpreter.as_os_str()).unwrap_or(interpreter);
            Ok(Runtime::Python { interpreter: found })
        }
        Some(interpreter) if NODE_PROGRAMS.contains(&file_name(interpreter.as_os_str()).as_str()) => {
            Ok(Runtime::Node { near: path.parent().map(Path::to_path_buf) })
        }
        Some(_) if PYTHON_TOOLS.contains(&short.as_str()) => {
            // A version manager's shim; the interpreter has one beside it.
            let beside = path.with_file_name("python");
            Ok(if probe.is_file(&beside) { Runtime::Python { interpreter: beside } } else { Runtime::Other })
        }
        _ => Ok(Runtime::Other),
    }
}

/// The command behind `env A=b`, `nohup`, `sh -c` and the like.
fn innermost(command: &[OsString]) -> Vec<OsString> {
    let mut command = command.to_vec();
    for _ in 0..PREFIXES_MAX {
        let Some(first) = command.first() else { break };
        let name = file_name(first);
        if matches!(name.as_str(), "sh" | "bash" | "dash" | "zsh" | "ash") {
            match shell_words(&command[1..]) {
                Some(words) => command = words,
                None => break,
            }
        } else if let Some((_, with_value)) = PREFIXES.iter().find(|(prefix, _)| *prefix == name) {
            command = behind_options(&command[1..], with_value);
        } else {
            break;
        }
    }
    command
}

/// What follows the options and `A=b` of a prefix.
fn behind_options(arguments: &[OsString], with_value: &[&str]) -> Vec<OsString> {
    let mut rest = arguments.iter();
    while let Some(argument) = rest.as_slice().first() {
        let text = argument.to_string_lossy();
        let skip = if with_value.contains(&text.as_ref()) {
            2
        } else if text.starts_with('-') || text.contains('=') {
            1
        } else {
            break;
        };
        rest.nth(skip - 1);
    }
    rest.as_slice().to_vec()
}

/// The words of `sh -c "exec flask run"`; only as far as spaces divide them, which is enough to see the program.
fn shell_words(arguments: &[OsString]) -> Option<Vec<OsString>> {
    let at = arguments.iter().position(|argument| {
        argument.to_str().is_some_and(|text| text.starts_with('-') && !text.starts_with("--") && text.ends_with('c'))
    })?;
    let script = arguments.get(at + 1)?.to_str()?;
    let words = script.split_whitespace().skip_while(|word| *word == "exec" || word.contains('='));
    Some(words.map(OsString::from).collect())
}

/// `uv run flask run`: the project's virtual environment decides.
fn of_runner(
    runner: &str,
    launch: &Launch,
    (environment, probe): (&Variables, &dyn Probe),
) -> Result<Runtime, LaunchError> {
    let active = environment.get(OsStr::new("VIRTUAL_ENV")).map(PathBuf::from);
    let own = environment.get(OsStr::new("UV_PROJECT_ENVIRONMENT")).map(|path| launch.directory.join(path));
    let upwards = launch.directory.ancestors().map(|directory| directory.join(".venv"));
    let mut candidates = own.into_iter().chain(upwards).chain(active).map(|home| home.join("bin/python"));
    match candidates.find(|interpreter| probe.is_file(interpreter)) {
        Some(interpreter) => Ok(Runtime::Python { interpreter }),
        None => Err(LaunchError::Unclear(format!(
            "`{runner} run` will choose an interpreter that cannot be seen from here; turn the two round: `{runner} run weir run -- …`"
        ))),
    }
}

fn is_python(name: &str) -> bool {
    let version = name.strip_prefix("python").or_else(|| name.strip_prefix("pypy"));
    version.is_some_and(|version| version.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.'))
}

/// The interpreter that the first line of a file names.
fn interpreter_of(head: &[u8]) -> Option<PathBuf> {
    let mut lines = head.strip_prefix(b"#!")?.split(|byte| *byte == b'\n');
    let shebang = String::from_utf8_lossy(lines.next()?).into_owned();
    let mut words = shebang.split_whitespace();
    let first = words.next()?;
    if Path::new(first).file_name()? == "env" {
        let word = words.find(|word| !word.starts_with('-') && !word.contains('='))?;
        return Some(word.into());
    }
    // pip writes `#!/bin/sh`, then `'''exec' "/a long path/python" …`, when the path does not fit a shebang.
    if let Some(exec) = lines.next().map(String::from_utf8_lossy)
        && exec.starts_with("'''exec'")
        && let Some(path) = exec["'''exec'".len()..].trim_start().trim_start_matches('"').split('"').next()
    {
        return Some(path.split(" \"$0\"").next().unwrap_or(path).into());
    }
    Some(first.into())
}

/// Where the script of `node [options] script` stands.
fn script_directory(arguments: &[OsString], launch: &Launch, probe: &dyn Probe) -> Option<PathBuf> {
    let scripts = arguments.iter().map(|argument| launch.directory.join(argument));
    let script = scripts.into_iter().find(|path| path.extension().is_some() && probe.is_file(path))?;
    script.parent().map(Path::to_path_buf)
}
