//! A PostgreSQL cluster of our own for one command: fresh, on loopback, gone at the end.
//!
//! A shell keeps the server and waits for its own input to close. That happens when the [`Cluster`] is dropped and
//! just as well when this process is interrupted or killed, so a server or its files are never left behind.

use std::env;
use std::fs;
use std::io::Read;
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::distribution;
use crate::problem::Problem;
use crate::process::{self, say};

/// Tests read it: where they may create databases.
pub(crate) const VARIABLE: &str = "BULKHEAD_TEST_POSTGRES";

const PROGRAMS: [&str; 3] = ["initdb", "postgres", "pg_isready"];
const START_LIMIT: Duration = Duration::from_secs(60);

/// What outlives a test run is of no use, so nothing waits for a disk.
const SETTINGS: [&str; 6] = [
    "listen_addresses=127.0.0.1",
    "unix_socket_directories=",
    "max_connections=300",
    "fsync=off",
    "synchronous_commit=off",
    "full_page_writes=off",
];

const KEEPER: &str = r#"
trap '' HUP
directory=$1; shift
"$@" >"$directory/log" 2>&1 &
server=$!
read -r _
kill -INT $server
wait $server
rm -rf "$directory"
"#;

/// A running server; dropping it ends the server and removes its files.
pub(crate) struct Cluster {
    pub(crate) url: String,
    /// What it says.
    pub(crate) log: PathBuf,
    keeper: Child,
}

impl Cluster {
    pub(crate) fn start() -> Result<Cluster, Problem> {
        let programs = match find_programs() {
            Some(directory) => directory,
            None => {
                distribution::install("PostgreSQL", &["postgresql"])?;
                find_programs().ok_or_else(|| Problem::Missing {
                    what: "PostgreSQL".to_owned(),
                    help: format!(
                        "its programs ({}) are neither on PATH nor in /usr/lib/postgresql",
                        PROGRAMS.join(", ")
                    ),
                })?
            }
        };
        let account = Account::for_server()?;
        let directory = make_directory(&account)?;
        let data = directory.join("data");
        let mut initdb = account.command(&programs.join("initdb"), &directory);
        initdb.args(["--auth=trust", "--username=postgres", "--encoding=UTF8", "--locale=C", "--no-sync", "-D"]);
        process::run(initdb.arg(&data).stdout(Stdio::null()))?;

        let port = free_port()?;
        let mut keeper = account.command(Path::new("/bin/sh"), &directory);
        // In a process group of its own, an interrupt at the terminal does not reach the keeper before we are gone.
        keeper.args(["-c", KEEPER, "postgres-keeper"]).arg(&directory).process_group(0);
        keeper.arg(programs.join("postgres")).arg("-D").arg(&data).args(["-p", &port.to_string()]);
        for setting in SETTINGS {
            keeper.args(["-c", setting]);
        }
        let keeper = keeper
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .map_err(|source| Problem::Start { command: "sh".to_owned(), source })?;
        let url = format!("postgres://postgres@127.0.0.1:{port}/postgres");
        let cluster = Cluster { url, log: directory.join("log"), keeper };
        wait_until_ready(&programs, port, &cluster.log)?;
        say(&format!("PostgreSQL from {} listens on port {port}", programs.display()));
        Ok(cluster)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        let _ = self.keeper.wait();
    }
}

/// Who runs the server: it refuses to run as root.
struct Account(Option<(u32, u32)>);

impl Account {
    fn for_server() -> Result<Account, Problem> {
        if !distribution::is_root() {
            return Ok(Account(None));
        }
        let file = Path::new("/etc/passwd");
        let text = fs::read_to_string(file).map_err(Problem::file(file))?;
        let ids = text.lines().find_map(|line| {
            let mut fields = line.split(':');
            let is_ours = fields.next() == Some("postgres");
            let ids = (fields.nth(1)?.parse().ok()?, fields.next()?.parse().ok()?);
            is_ours.then_some(ids)
        });
        match ids {
            Some(ids) => Ok(Account(Some(ids))),
            None => Err(Problem::Missing {
                what: "the user `postgres`".to_owned(),
                help: "PostgreSQL does not run as root; add that user or run as another".to_owned(),
            }),
        }
    }

    fn command(&self, program: &Path, directory: &Path) -> Command {
        let mut command = Command::new(program);
        command.current_dir(directory).env("HOME", directory);
        if let Some((user, group)) = self.0 {
            command.uid(user).gid(group);
        }
        command
    }
}

fn find_programs() -> Option<PathBuf> {
    let is_complete = |directory: &PathBuf| PROGRAMS.iter().all(|program| directory.join(program).is_file());
    let on_path = env::var_os("PATH").map(|path| env::split_paths(&path).collect::<Vec<_>>()).unwrap_or_default();
    on_path.into_iter().find(is_complete).or_else(|| {
        let versions = fs::read_dir("/usr/lib/postgresql").ok()?.flatten();
        let number = |path: &PathBuf| path.file_name().and_then(|name| name.to_str()?.parse::<u32>().ok());
        let newest_first = versions.map(|version| version.path()).filter_map(|path| Some((number(&path)?, path)));
        newest_first
            .map(|(number, path)| (number, path.join("bin")))
            .filter(|(_, path)| is_complete(path))
            .max()
            .map(|(_, path)| path)
    })
}

/// Not below target/: the server's own user may have no way into a home directory.
fn make_directory(account: &Account) -> Result<PathBuf, Problem> {
    let directory = env::temp_dir().join(format!("bulkhead-postgres-{}", std::process::id()));
    fs::create_dir(&directory).map_err(Problem::file(&directory))?;
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o700)).map_err(Problem::file(&directory))?;
    if let Some((user, group)) = account.0 {
        chown(&directory, Some(user), Some(group)).map_err(Problem::file(&directory))?;
    }
    Ok(directory)
}

fn free_port() -> Result<u16, Problem> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).and_then(|listener| listener.local_addr());
    match listener {
        Ok(address) => Ok(address.port()),
        Err(source) => Err(Problem::Start { command: "a listener on 127.0.0.1".to_owned(), source }),
    }
}

fn wait_until_ready(programs: &Path, port: u16, log: &Path) -> Result<(), Problem> {
    let started = Instant::now();
    let port = port.to_string();
    while started.elapsed() < START_LIMIT {
        let mut probe = Command::new(programs.join("pg_isready"));
        if process::works(probe.args(["--quiet", "--host=127.0.0.1", "--username=postgres", "--port", &port])) {
            return Ok(());
        }
        thread::sleep(Duration::from_millis(50));
    }
    let mut said = String::new();
    let _ = fs::File::open(log).and_then(|mut file| file.read_to_string(&mut said));
    eprintln!("{said}");
    Err(Problem::TimedOut { command: "postgres".to_owned(), limit: START_LIMIT })
}
