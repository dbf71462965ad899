//! The machine as planning asks it, and the end of `weir run`: the program takes the place of this process.

use std::convert::Infallible;
use std::ffi::OsStr;
use std::fs;
use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use super::python::QUESTION;
use super::{LaunchError, Plan, PlannedFile, Probe, PythonFindings};

/// Enough for a shebang and for the head of a package.json.
const HEAD_BYTES: u64 = 4096;
/// The agent is on this machine, or nearly.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(300);

/// This machine, with the search path that the command will see.
#[derive(Clone, Debug)]
pub struct Machine {
    /// `PATH`.
    pub search_path: std::ffi::OsString,
}

impl Probe for Machine {
    fn find_program(&self, name: &OsStr) -> Option<PathBuf> {
        let path = Path::new(name);
        if path.components().count() > 1 {
            return is_executable(path).then(|| path.to_path_buf());
        }
        std::env::split_paths(&self.search_path).map(|directory| directory.join(name)).find(|path| is_executable(path))
    }

    fn load_head(&self, path: &Path) -> Option<Vec<u8>> {
        let mut head = Vec::new();
        fs::File::open(path).ok()?.take(HEAD_BYTES).read_to_end(&mut head).ok()?;
        Some(head)
    }

    fn is_file(&self, path: &Path) -> bool {
        path.is_file()
    }

    fn ask_python(&self, interpreter: &Path) -> Result<PythonFindings, String> {
        let asked = Command::new(interpreter).args(["-c", QUESTION]).stdin(Stdio::null()).output();
        let output = asked.map_err(|error| error.to_string())?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            return Err(said.lines().last().unwrap_or("it ended without a word").to_owned());
        }
        // A sitecustomize of the user's may print as well; the answer is the last line.
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let answer = said.trim_end().lines().last().unwrap_or_default();
        serde_json::from_str(answer).map_err(|error| format!("it answered {answer:?}: {error}"))
    }

    fn is_listening(&self, address: &str) -> bool {
        let addresses = address.to_socket_addrs().into_iter().flatten();
        addresses.into_iter().any(|address| TcpStream::connect_timeout(&address, CONNECT_TIMEOUT).is_ok())
    }
}

fn is_executable(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

/// Writes the files of `plan` and becomes its program. Returns only when that failed.
///
/// # Errors
/// When a file cannot be written or the system does not start the program.
pub fn exec(plan: &Plan) -> Result<Infallible, LaunchError> {
    for file in &plan.files {
        write(file).map_err(|error| LaunchError::File { path: file.path.clone(), error })?;
    }
    let mut command = Command::new(&plan.program);
    let mut arguments = plan.arguments.iter();
    if let Some(name) = arguments.next() {
        command.arg0(name);
    }
    let error = command.args(arguments).envs(&plan.variables).exec();
    Err(LaunchError::Exec { program: plan.program.clone(), error })
}

/// Puts a file of ours in its place, in one step, unless it is there already. Its directory must be ours alone, since
/// what lies there is run.
fn write(file: &PlannedFile) -> io::Result<()> {
    let directory = file.path.parent().unwrap_or(Path::new("/"));
    fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    let found = fs::symlink_metadata(directory)?;
    if !found.is_dir() || found.uid() != rustix::process::getuid().as_raw() || found.mode() & 0o022 != 0 {
        return Err(io::Error::other(format!("{} is not a directory of ours alone", directory.display())));
    }
    if fs::read_to_string(&file.path).is_ok_and(|content| content == file.content) {
        return Ok(());
    }
    let fresh =
        directory.join(format!(".{}-{}", file.path.file_name().unwrap_or_default().display(), std::process::id()));
    let mut out = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh)?;
    out.write_all(file.content.as_bytes())?;
    fs::rename(&fresh, &file.path)
}
