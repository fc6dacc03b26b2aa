//! What a host says when it cannot start, and what it needs to start again.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Output, Stdio};

use bulkhead_tests::{Host, PATIENCE, component, host_program, leaks};
use serde_json::json;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::process::Command;

/// `bulkhead COMMAND` over this folder.
fn bulkhead(command: &str, folder: &Path, settings: &[(&str, &str)]) -> Command {
    let mut program = Command::new(host_program());
    program.arg(command).env_remove("DATABASE_URL").env("BULKHEAD_DATA_DIR", folder);
    program.env("BULKHEAD_LISTEN", "127.0.0.1:0").envs(settings.iter().copied());
    program.stdin(Stdio::null()).kill_on_drop(true);
    program
}

/// What a command that ends by itself came to.
pub(crate) async fn ended(mut program: Command) -> Output {
    let ended = tokio::time::timeout(PATIENCE, program.output()).await.expect("it ends in time").unwrap();
    for said in [&ended.stdout, &ended.stderr] {
        leaks::shown("a command", &String::from_utf8_lossy(said));
    }
    ended
}

/// Runs `bulkhead serve` until it gives up, and gives what it said.
pub(crate) async fn refusal(folder: &Path, settings: &[(&str, &str)]) -> String {
    let ended = ended(bulkhead("serve", folder, settings)).await;
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert!(!ended.status.success(), "it started: {said}");
    said
}

#[track_caller]
pub(crate) fn says(said: &str, words: &[&str]) {
    for word in words {
        assert!(said.contains(word), "{word:?} is not in {said}");
    }
}

/// Mutation: host/server/src/boot.rs, `open_vault`, leave out the comparison: every key and secret is void, and the host
/// starts.
#[tokio::test]
async fn the_keys_of_another_database_are_told_and_not_used() {
    let (mut host, other) = (Host::spawn().await, Host::spawn().await);
    host.kill().await;
    let (own, saved) = (host.folder().join("keys.json"), host.folder().join("saved.json"));
    std::fs::rename(&own, &saved).unwrap();
    std::fs::copy(other.folder().join("keys.json"), &own).unwrap();
    says(&refusal(host.folder(), &[]).await, &[&own.display().to_string(), "Put back the key file"]);
    std::fs::remove_file(&own).unwrap();
    says(&refusal(host.folder(), &[]).await, &[&own.display().to_string()]);
    assert!(!own.exists(), "no new keys are made beside what old ones have sealed");
    std::fs::rename(&saved, &own).unwrap();
    host.restart().await;
    host.tenant("as before").await;
}

/// Mutation: host/server/src/boot.rs, `open_vault`, without `warn_of_older_keys`; at each start.
#[tokio::test]
async fn a_new_database_beside_the_keys_of_an_older_one_is_told() {
    let log = tempfile::tempdir().unwrap();
    let file = log.path().join("log");
    let mut host = Host::builder().log_to(&file).spawn().await;
    let (database, keys) = (host.folder().join("bulkhead.db"), host.folder().join("keys.json"));
    let warned = || {
        let said = std::fs::read_to_string(&file).unwrap();
        said.lines().filter(|line| line.contains("the database is new")).map(str::to_owned).collect::<Vec<_>>()
    };
    host.restart().await;
    assert_eq!(warned(), Vec::<String>::new());
    host.kill().await;
    for gone in ["bulkhead.db", "bulkhead.db-wal", "bulkhead.db-shm"] {
        std::fs::remove_file(host.folder().join(gone)).unwrap();
    }
    host.restart().await;
    let said = warned();
    assert_eq!(said.len(), 1, "{said:?}");
    says(&said[0], &["WARN", &database.display().to_string(), &keys.display().to_string()]);
}

/// Mutation: host/store/src/open.rs, `open_sqlite`, leave out the file lock.
#[tokio::test]
async fn a_database_in_use_is_left_alone() {
    let host = Host::spawn().await;
    let said = refusal(host.folder(), &[]).await;
    says(&said, &["is in use by", &host.process_id().unwrap().to_string()]);
}

/// Mutation: host/cli/src/config.rs, `ConfigError`, show the value.
#[tokio::test]
async fn a_wrong_setting_is_named_and_its_value_is_not_shown() {
    let folder = tempfile::tempdir().unwrap();
    let secret = "hunter2hunter2";
    let address = format!("postgres://user:{secret}@127.0.0.1:1/none");
    let wrong = [
        ("BULKHEAD_WORKERS", secret, "BULKHEAD_WORKERS"),
        ("BULKHEAD_LOG_FORMAT", secret, "log_format"),
        ("BULKHEAD_PUBLIC_URL", secret, "public_url"),
        ("PORT", secret, "PORT"),
        ("DATABASE_URL", &address, "postgres://user@127.0.0.1:1/none"),
        ("DATABASE_URL", secret, "database_url"),
        ("DATABASE_URL_FILE", "/nowhere/at-all", "/nowhere/at-all"),
        ("BULKHEAD_DEVELOPMENT_UPSTREAMS", secret, "development_upstreams"),
    ];
    for (name, value, word) in wrong {
        let said = refusal(folder.path(), &[(name, value)]).await;
        says(&said, &[word]);
        assert!(!said.contains(secret), "{name}: {said}");
    }
}

/// Mutation: host/cli/src/serve.rs, `not_listening`, show `error` alone.
#[tokio::test]
async fn an_address_that_cannot_be_listened_on_is_told_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let listen = |address: &str| {
        let settings = [("BULKHEAD_LISTEN", address.to_owned())];
        let folder = folder.path().to_owned();
        async move { refusal(&folder, &settings.each_ref().map(|(name, value)| (*name, value.as_str()))).await }
    };
    says(&listen("hunter2").await, &["listen has to be HOST:PORT"]);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    says(&listen(&address).await, &[&address, "in use", "PORT"]);
}

/// Mutation: host/server/src/boot.rs, `boot`, leave out `refuse_other_than_jq`: a tenant who makes a route hears of it.
#[tokio::test]
async fn a_jq_component_that_is_none_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (text, hello) = (folder.path().join("text"), component("hello"));
    std::fs::write(&text, "no component").unwrap();
    let named = |path: &Path| path.to_str().unwrap().to_owned();
    let wrong = [
        ("/nowhere/jq.wasm".to_owned(), "cannot be read"),
        (named(&text), "is no connector"),
        (named(&hello), "another connector"),
    ];
    for (file, why) in &wrong {
        says(&refusal(folder.path(), &[("BULKHEAD_JQ_COMPONENT", file)]).await, &["jq_component", file, why]);
    }
}

/// Without it no route can be made, and whoever starts the host is the one who can do something about it.
///
/// Mutation: host/cli/src/serve.rs, `serve`, leave out `no_jq`; host/cli/src/serve.rs, `log`, leave out `with_ansi`.
#[tokio::test]
async fn a_host_without_jq_says_so_where_it_starts_and_where_a_route_is_made() {
    let folder = tempfile::tempdir().unwrap();
    let mut program = bulkhead("serve", folder.path(), &[]);
    let mut host = program.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let (mut lines, mut said) = (BufReader::new(host.stdout.take().unwrap()).lines(), String::new());
    let reading = async {
        while let Some(line) = lines.next_line().await.unwrap() {
            said.push_str(&line);
            said.push('\n');
            if line.contains("listens on ") {
                return;
            }
        }
    };
    tokio::time::timeout(PATIENCE, reading).await.expect("it listens in time");
    says(&said, &["no route can be made", "jq_component", "bulkhead build connectors/jq"]);
    // The curl for a tenant, ready to be pasted.
    says(&said, &["export BULKHEAD_URL=http://127.0.0.1:", "curl $BULKHEAD_URL/v1/tenants"]);
    host.start_kill().unwrap();
    let mut log = String::new();
    host.stderr.take().unwrap().read_to_string(&mut log).await.unwrap();
    says(&log, &["WARN", "no route can be made"]);
    assert!(!log.contains('\u{1b}'), "colours are for terminals: {log:?}");
}

/// Mutation: host/cli/src/serve.rs, `serve`, leave out the mode; host/store/src/open.rs, `open_sqlite`, leave out the
/// mode.
#[tokio::test]
async fn what_a_host_keeps_is_for_its_user_alone() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let host = Host::builder().spawn_in(&data).await;
    host.tenant("so that something is written").await;
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&data), 0o700, "{}", data.display());
    for file in ["bulkhead.db", "bulkhead.db-wal", "bulkhead.db-shm", "keys.json"] {
        assert_eq!(mode(&data.join(file)), 0o600, "{file}");
    }
}

/// Mutation: host/server/src/boot.rs, `new_operator_key`, take another vault than `open_vault`'s.
#[tokio::test]
async fn whoever_has_lost_the_operators_key_makes_another_with_the_hosts_own_data() {
    let mut host = Host::spawn().await;
    let folder = host.folder().to_owned();
    let busy = ended(bulkhead("operator-key", &folder, &[])).await;
    let said = String::from_utf8_lossy(&busy.stderr).into_owned();
    assert!(!busy.status.success(), "{said}");
    says(&said, &["is in use by", "Stop it"]);
    host.kill().await;
    let made = ended(bulkhead("operator-key", &folder, &[])).await;
    let said = String::from_utf8_lossy(&made.stdout).into_owned();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let key = said.lines().find_map(|line| line.split_once("keep it): ")).expect("the key is shown").1.to_owned();
    host.restart().await;
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let new = client.post(format!("{}/v1/tenants", host.url())).json(&json!({ "name": "as the operator" }));
    assert_eq!(new.bearer_auth(&key).send().await.unwrap().status(), 201);
    host.tenant("the first key works too").await;
}

/// Mutation: host/server/src/boot.rs, `new_operator_key`, leave out `NeverServed`.
#[tokio::test]
async fn no_operators_key_is_made_where_no_host_ever_was() {
    let folder = tempfile::tempdir().unwrap();
    let nowhere = folder.path().join("nowhere");
    for (data, why) in [(nowhere.as_path(), "does not exist"), (folder.path(), "no host has used this database")] {
        let refused = ended(bulkhead("operator-key", data, &[])).await;
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(!refused.status.success() && refused.stdout.is_empty(), "{said}");
        says(&said, &[why]);
        assert!(!data.join("keys.json").exists());
    }
}

/// Mutation: host/cli/src/serve.rs, `log`, with `log_internal_errors`: it ends when it tells that it serves.
#[tokio::test]
async fn a_host_whose_log_cannot_be_written_serves_all_the_same() {
    let host = Host::builder().log_to(Path::new("/dev/full")).spawn().await;
    assert_eq!(host.tenant("t").await.get("/v1/runs").await.status, 200);
}

/// Mutation: host/cli/src/main.rs, `main`, without `is_unheard`.
#[tokio::test]
async fn a_command_that_nobody_listens_to_any_more_says_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (listener, answer) = std::io::pipe().unwrap();
    drop(listener);
    let mut command = bulkhead("serve", folder.path(), &[]);
    command.arg("--print-config").stdout(answer).stderr(Stdio::piped());
    let ended = tokio::time::timeout(PATIENCE, command.spawn().unwrap().wait_with_output()).await.unwrap().unwrap();
    assert!(ended.status.code() == Some(1) && ended.stderr.is_empty(), "{ended:?}");
}

/// Mutation: host/cli/src/serve.rs, `run`, `print!` in place of `write!`.
#[tokio::test]
async fn a_command_whose_answer_cannot_be_written_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = bulkhead("serve", folder.path(), &[]);
    command.arg("--print-config").stdout(std::fs::File::options().write(true).open("/dev/full").unwrap());
    command.stderr(Stdio::piped());
    let ended = tokio::time::timeout(PATIENCE, command.spawn().unwrap().wait_with_output()).await.unwrap().unwrap();
    let said = String::from_utf8_lossy(&ended.stderr);
    assert!(ended.status.code() == Some(1) && said.starts_with("error: ") && said.lines().count() == 1, "{said}");
}
