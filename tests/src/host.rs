//! A `bulkhead serve` of its own, and its API as a few calls.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, ChildStderr, Command};

use crate::{PATIENCE, component, host_program, leaks};

/// How a host is started.
#[derive(Default)]
pub struct HostBuilder {
    settings: Vec<(String, String)>,
    log: Option<PathBuf>,
    aloud: bool,
    operator_key: Option<String>,
    largest_file_kib: Option<u64>,
}

impl HostBuilder {
    /// Another node over the database of this one, which this has to be told of besides.
    #[must_use]
    pub fn beside(mut self, host: &Host) -> Self {
        self.operator_key = Some(host.operator_key.clone());
        self.set("BULKHEAD_VAULT_KEY_FILE", host.folder.join("keys.json").display().to_string())
    }

    /// A setting, by its name in the environment.
    #[must_use]
    pub fn set(mut self, name: &str, value: impl Into<String>) -> Self {
        self.settings.push((name.to_owned(), value.into()));
        self
    }

    /// Sends requests to `https://host` to a server on this machine.
    #[must_use]
    pub fn upstream(mut self, host: &str, url: &str) -> Self {
        const NAME: &str = "BULKHEAD_DEVELOPMENT_UPSTREAMS";
        let pair = format!("{host}={url}");
        match self.settings.iter_mut().find(|(name, _)| name == NAME) {
            Some((_, pairs)) => *pairs = format!("{pairs},{pair}"),
            None => self.settings.push((NAME.to_owned(), pair)),
        }
        self
    }

    /// Writes what it logs there.
    #[must_use]
    pub fn log_to(mut self, file: &Path) -> Self {
        self.log = Some(file.to_owned());
        self
    }

    /// What would make a file of its larger is refused to it, as a full disk would refuse it.
    #[must_use]
    pub fn largest_file_kib(mut self, kib: u64) -> Self {
        self.largest_file_kib = Some(kib);
        self
    }

    /// Logs also to whoever started it.
    #[must_use]
    pub fn aloud(mut self) -> Self {
        self.aloud = true;
        self
    }

    /// Starts it in a folder that goes with it.
    pub async fn spawn(self) -> Host {
        let folder = tempfile::tempdir().expect("a folder for the host");
        let path = folder.path().to_owned();
        Host::start(self, path, Some(folder)).await
    }

    /// Starts it in a folder that stays.
    pub async fn spawn_in(self, folder: &Path) -> Host {
        Host::start(self, folder.to_owned(), None).await
    }
}

/// A running host. Dropping it kills it.
pub struct Host {
    process: Child,
    url: String,
    operator_key: String,
    folder: PathBuf,
    builder: HostBuilder,
    client: reqwest::Client,
    _temporary: [Option<TempDir>; 2],
}

/// A status and what came with it.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub body: Value,
}

impl Answer {
    /// The body of a success.
    ///
    /// # Panics
    /// Shows the problem where it is none.
    #[track_caller]
    pub fn ok(self) -> Value {
        assert!((200..300).contains(&self.status), "{}: {:#}", self.status, self.body);
        self.body
    }

    /// A text field of a success.
    #[track_caller]
    pub fn text(self, name: &str) -> String {
        let body = self.ok();
        body.get(name).and_then(Value::as_str).unwrap_or_else(|| panic!("no {name} in {body:#}")).to_owned()
    }
}

impl Host {
    /// A host with nothing special about it.
    pub async fn spawn() -> Self {
        HostBuilder::default().spawn().await
    }

    pub fn builder() -> HostBuilder {
        HostBuilder::default()
    }

    async fn start(mut builder: HostBuilder, folder: PathBuf, temporary: Option<TempDir>) -> Self {
        // Not in the host's own folder: what stands there is the host's.
        let own_log = tempfile::tempdir().expect("a folder for the log");
        builder.log.get_or_insert_with(|| own_log.path().join("log"));
        let client = reqwest::Client::builder().no_proxy().build().expect("a client");
        let (process, url, key) = boot(&builder, &folder).await;
        let operator_key = key.or(builder.operator_key.take()).expect("the first start shows a key");
        leaks::remember(&operator_key);
        Self { process, url, operator_key, folder, builder, client, _temporary: [temporary, Some(own_log)] }
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    pub fn operator_key(&self) -> &str {
        &self.operator_key
    }

    /// The process's id, for those who want to end it at a moment of their choice.
    pub fn process_id(&self) -> Option<u32> {
        self.process.id()
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Ends it without warning, where it has not ended.
    pub async fn kill(&mut self) {
        if self.process.id().is_some() {
            self.process.start_kill().expect("the host is ours to kill");
        }
        let _ = self.process.wait().await;
    }

    /// Tells it to stop.
    pub async fn tell_to_stop(&self) {
        let pid = self.process.id().expect("the host runs").to_string();
        let told = Command::new("kill").args(["-TERM", &pid]).status().await.expect("`kill` is there");
        assert!(told.success(), "the host could not be told");
    }

    /// Waits for its end.
    pub async fn ended(&mut self) -> ExitStatus {
        let ended = tokio::time::timeout(PATIENCE, self.process.wait()).await;
        ended.expect("the host ends in time").expect("the host's end is told")
    }

    /// Starts it again over what it left; it may listen elsewhere then.
    pub async fn restart(&mut self) {
        self.kill().await;
        let (process, url, _) = boot(&self.builder, &self.folder).await;
        self.process = process;
        self.url = url;
    }

    /// The same, with another setting.
    pub async fn restart_with(&mut self, name: &str, value: &str) {
        self.builder = std::mem::take(&mut self.builder).set(name, value);
        self.restart().await;
    }

    /// One request as the operator.
    pub async fn operator(&self, method: Method, path: &str, body: Option<Value>) -> Answer {
        self.request(method, path, &self.operator_key, None, body).await
    }

    /// Uploads a component for everybody.
    pub async fn publish(&self, name: &str) -> Value {
        self.upload(std::fs::read(component(name)).expect("the component can be read")).await.ok()
    }

    /// Uploads bytes, whatever they are.
    pub async fn upload(&self, bytes: Vec<u8>) -> Answer {
        let request =
            self.client.post(format!("{}/v1/connectors", self.url)).bearer_auth(&self.operator_key).body(bytes);
        answer(request).await
    }

    /// Makes a tenant.
    pub async fn tenant(&self, name: &str) -> Tenant<'_> {
        let id = self.operator(Method::POST, "/v1/tenants", Some(json!({ "name": name }))).await.text("id");
        Tenant { host: self, id }
    }

    /// A tenant that exists.
    pub fn tenant_by_id(&self, id: &str) -> Tenant<'_> {
        Tenant { host: self, id: id.to_owned() }
    }

    async fn request(
        &self,
        method: Method,
        path: &str,
        key: &str,
        tenant: Option<&str>,
        body: Option<Value>,
    ) -> Answer {
        let mut request = self.client.request(method, format!("{}{path}", self.url)).bearer_auth(key);
        if let Some(tenant) = tenant {
            request = request.header("bulkhead-tenant", tenant);
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        answer(request).await
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.process.start_kill();
        let Some(log) = &self.builder.log else { return };
        let found = leaks::search(log, &self.folder);
        if std::thread::panicking() {
            #[allow(clippy::print_stderr, reason = "whoever reads why a story failed wants it")]
            let () =
                eprintln!("let out what was told in confidence: {found:#?}\nthe host's log:\n{}", leaks::read(log));
            return;
        }
        assert!(found.is_empty(), "the host let out what it was told in confidence: {found:#?}");
        leaks::keep(log);
    }
}

/// Sends a request to a host, and hears what it says in confidence.
///
/// # Panics
/// Where the host does not answer.
pub async fn send(request: reqwest::RequestBuilder) -> reqwest::Response {
    let (client, request) = request.build_split();
    let request = request.expect("a request");
    let authorization = request.headers().get("authorization").and_then(|value| value.to_str().ok());
    let body = request.body().and_then(reqwest::Body::as_bytes).unwrap_or_default();
    leaks::asked(request.url().path(), authorization, body);
    client.execute(request).await.expect("the host answers")
}

async fn answer(request: reqwest::RequestBuilder) -> Answer {
    let response = send(request).await;
    let status = response.status().as_u16();
    let text = response.text().await.expect("the answer is whole");
    leaks::answered(status, &text);
    let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
    Answer { status, body }
}

fn appended(file: &Path) -> File {
    File::options().create(true).append(true).open(file).expect("the log can be written")
}

/// Hands on what a host says, and keeps it.
#[allow(clippy::print_stderr, reason = "whoever started it aloud wants it")]
async fn tell(said: ChildStderr, mut log: File) {
    let mut lines = BufReader::new(said).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        eprintln!("{line}");
        writeln!(log, "{line}").expect("the log can be written");
    }
}

/// The host's program. A shell counts files by 512 bytes, and has the host hear of what is too much as an error.
fn program(largest_file_kib: Option<u64>) -> Command {
    let Some(kib) = largest_file_kib else { return Command::new(host_program()) };
    let mut shell = Command::new("sh");
    let limited = format!("trap '' XFSZ; ulimit -f {}; exec \"$0\" \"$@\"", 2 * kib);
    shell.arg("-c").arg(limited).arg(host_program());
    shell
}

/// Starts the process and reads where it listens.
async fn boot(builder: &HostBuilder, folder: &Path) -> (Child, String, Option<String>) {
    let jq = component("jq");
    let mut command = program(builder.largest_file_kib);
    command
        .arg("serve")
        .env_remove("DATABASE_URL")
        .env("BULKHEAD_DATA_DIR", folder)
        .env("BULKHEAD_LISTEN", "127.0.0.1:0")
        .env("BULKHEAD_JQ_COMPONENT", jq)
        .envs(builder.settings.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true);
    if let Some(file) = &builder.log {
        let log = appended(file);
        command.stderr(if builder.aloud { Stdio::piped() } else { Stdio::from(log) });
    }
    let mut process = command.spawn().expect("the host starts");
    if let (Some(said), Some(file)) = (process.stderr.take(), &builder.log) {
        tokio::spawn(tell(said, appended(file)));
    }
    let stdout = process.stdout.take().expect("the host's output");
    let mut lines = BufReader::new(stdout).lines();
    let mut key = None;
    let reading = async {
        while let Some(line) = lines.next_line().await.expect("the host's output is text") {
            if let Some((_, shown)) = line.split_once("keep it): ") {
                key = Some(shown.to_owned());
            }
            if let Some((_, url)) = line.split_once("listens on ") {
                return url.to_owned();
            }
        }
        panic!("the host ended before it listened");
    };
    let url = tokio::time::timeout(PATIENCE, reading).await.expect("the host listens in time");
    (process, url, key)
}

/// One tenant of a host.
pub struct Tenant<'h> {
    host: &'h Host,
    id: String,
}

impl Tenant<'_> {
    pub fn id(&self) -> &str {
        &self.id
    }

    /// One request on the tenant's behalf.
    pub async fn request(&self, method: Method, path: &str, body: Option<Value>) -> Answer {
        self.host.request(method, path, &self.host.operator_key, Some(&self.id), body).await
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.request(Method::GET, path, None).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Answer {
        self.request(Method::POST, path, Some(body)).await
    }

    pub async fn put(&self, path: &str, body: Value) -> Answer {
        self.request(Method::PUT, path, Some(body)).await
    }

    /// A connection that is authorized by these fields.
    pub async fn connection(&self, connector: &str, fields: Value) -> String {
        self.authorized(json!({ "connector": connector, "name": connector }), fields).await
    }

    /// The same, where the connector tells a sandbox from what it is in earnest.
    pub async fn sandboxed(&self, connector: &str, fields: Value) -> String {
        let new = json!({ "connector": connector, "name": connector, "environment": "sandbox" });
        self.authorized(new, fields).await
    }

    async fn authorized(&self, new: Value, fields: Value) -> String {
        let id = self.post("/v1/connections", new).await.text("id");
        self.put(&format!("/v1/connections/{id}/credential"), json!({ "fields": fields })).await.ok();
        id
    }

    /// Where the connection's provider tells of events: the path of its webhook address.
    pub async fn hook(&self, connection: &str) -> String {
        let address = self.get(&format!("/v1/connections/{connection}")).await.text("webhook_url");
        let (_, endpoint) = address.split_once("/hooks/").expect("it is a webhook address");
        format!("/hooks/{endpoint}")
    }

    /// Runs an action and waits for its end.
    pub async fn act(&self, connection: &str, action: &str, input: Value) -> Value {
        let wait = PATIENCE.as_millis();
        self.post(&format!("/v1/connections/{connection}/actions/{action}?wait_ms={wait}"), input).await.ok()
    }

    /// Asks for runs until `enough` says so, and gives them.
    ///
    /// # Panics
    /// Shows them where it never does.
    #[allow(clippy::disallowed_methods, reason = "a host in another process lives in real time")]
    pub async fn runs_until(&self, query: &str, enough: impl Fn(&[Value]) -> bool) -> Vec<Value> {
        let until = Instant::now() + PATIENCE;
        let mut beat = tokio::time::interval(Duration::from_millis(50));
        loop {
            beat.tick().await;
            let found = self.get(&format!("/v1/runs?limit=200&{query}")).await.ok();
            let runs = found.get("items").and_then(Value::as_array).cloned().unwrap_or_default();
            if enough(&runs) {
                return runs;
            }
            assert!(Instant::now() < until, "it never came to this: {runs:#?}");
        }
    }
}
