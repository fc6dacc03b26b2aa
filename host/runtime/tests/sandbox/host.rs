//! A sandbox to run guests in, and ports that answer as a test says.

use std::sync::{Arc, Mutex};

use bulkhead_runtime::{
    ActOutcome, Asker, Call, CompileError, CompilerCommand, Decision, Digest, External, Facts, Finished, Halt,
    HttpError, HttpResponse, Invocation, Limits, Loaded, Operation, Ports, Produced, Runtime, RuntimeConfig, Sent,
    Stop,
};
use futures::future::BoxFuture;
use tempfile::TempDir;

pub(crate) const CLOCK_MS: u64 = 1_700_000_000_000;

pub(crate) struct Sandbox {
    pub(crate) runtime: Runtime,
    pub(crate) dir: TempDir,
}

pub(crate) fn compiler() -> CompilerCommand {
    CompilerCommand { program: env!("CARGO_BIN_EXE_bulkhead-compile").into(), args: Vec::new() }
}

/// A small sandbox: few slots, so that running short shows.
pub(crate) fn settings(dir: &TempDir) -> RuntimeConfig {
    RuntimeConfig { slots: 4, threads: 2, ..RuntimeConfig::new(dir.path().join("artifacts"), [7; 32], compiler()) }
}

impl Sandbox {
    pub(crate) fn start() -> Self {
        Self::with(|_| {})
    }

    pub(crate) fn with(change: impl FnOnce(&mut RuntimeConfig)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut settings = settings(&dir);
        change(&mut settings);
        Self { runtime: Runtime::start(settings).unwrap(), dir }
    }

    pub(crate) async fn compile(&self, wasm: &[u8]) -> Result<Digest, CompileError> {
        self.runtime.compile(&wasm.to_vec().into(), Asker::Run).await
    }

    pub(crate) async fn load(&self, wasm: &[u8]) -> Loaded {
        let digest = self.compile(wasm).await.unwrap();
        self.runtime.load(&digest).await.unwrap()
    }

    /// One `act` within the default limits and with ports that lead nowhere.
    pub(crate) async fn act(&self, wasm: &[u8]) -> Finished {
        self.act_within(wasm, Limits::default()).await
    }

    pub(crate) async fn act_within(&self, wasm: &[u8], limits: Limits) -> Finished {
        let invocation = Invocation { limits, ..acting(&self.load(wasm).await) };
        self.runtime.invoke(invocation).await
    }

    pub(crate) async fn act_through(&self, wasm: &[u8], ports: Arc<dyn Ports>) -> Finished {
        self.runtime.invoke(Invocation { ports, ..acting(&self.load(wasm).await) }).await
    }
}

pub(crate) fn acting(loaded: &Loaded) -> Invocation {
    Invocation {
        loaded: loaded.clone(),
        operation: Operation::Act { action: "act".into(), input: "{}".into(), resume: None },
        whose: 0,
        limits: Limits::default(),
        seed: [1; 32],
        clock_ms: CLOCK_MS,
        ports: Arc::new(bulkhead_runtime::NoPorts),
        facts: Facts { settings: r#"{"a":1}"#.into(), ..Facts::default() },
        state_read_only: false,
    }
}

/// The value of an act that is done.
pub(crate) fn value(finished: &Finished) -> &str {
    match &finished.result {
        Ok(Produced::Acted(ActOutcome::Done(output))) => &output.value,
        other => panic!("not done: {other:?}, log: {:?}", finished.logs),
    }
}

pub(crate) fn stop(finished: &Finished) -> &Stop {
    finished.result.as_ref().unwrap_err()
}

pub(crate) fn ok(body: &str) -> Result<HttpResponse, HttpError> {
    Ok(HttpResponse { status: 200, headers: Vec::new(), body: bytes::Bytes::copy_from_slice(body.as_bytes()) })
}

type Decide = Box<dyn Fn(&Call) -> Decision + Send + Sync>;
type Send_ = Box<dyn Fn(Call) -> BoxFuture<'static, Sent> + Send + Sync>;

/// How far a guest says it is, and how nice the thread was that said so.
type Progress = (u64, Option<u64>, String, i32);

/// Ports of a test's making.
pub(crate) struct Scripted {
    decide: Decide,
    send: Send_,
    pub(crate) state: std::collections::BTreeMap<String, String>,
    pub(crate) asked: Mutex<Vec<(u32, u32)>>,
    /// What the store was asked for: keys, prefixes, links.
    pub(crate) looked_up: Mutex<Vec<String>>,
    pub(crate) sent: Mutex<Vec<Call>>,
    pub(crate) paused: Mutex<Vec<u64>>,
    pub(crate) progress: Mutex<Vec<Progress>>,
}

impl Scripted {
    pub(crate) fn sending(send: impl Fn(Call) -> BoxFuture<'static, Sent> + Send + Sync + 'static) -> Self {
        Self::deciding(|_| Decision::Proceed, send)
    }

    pub(crate) fn deciding(
        decide: impl Fn(&Call) -> Decision + Send + Sync + 'static,
        send: impl Fn(Call) -> BoxFuture<'static, Sent> + Send + Sync + 'static,
    ) -> Self {
        Self {
            decide: Box::new(decide),
            send: Box::new(send),
            state: Default::default(),
            asked: Default::default(),
            looked_up: Default::default(),
            sent: Default::default(),
            paused: Default::default(),
            progress: Default::default(),
        }
    }

    /// Ports that answer every request with its URL, a second later each time.
    pub(crate) fn echoing() -> Self {
        Self::sending(|call| {
            let at_ms = CLOCK_MS + u64::from(call.seq) * 1_000;
            let body = format!("{:?}", call.request.url);
            Box::pin(async move { Sent::Answer { result: ok(&body), at_ms } })
        })
    }
}

impl Ports for Scripted {
    fn before_send<'a>(&'a self, call: &'a Call) -> BoxFuture<'a, Decision> {
        self.asked.lock().unwrap().push((call.seq, call.sub));
        let decision = (self.decide)(call);
        Box::pin(async move { decision })
    }

    fn send<'a>(&'a self, call: &'a Call) -> BoxFuture<'a, Sent> {
        self.sent.lock().unwrap().push(call.clone());
        (self.send)(call.clone())
    }

    fn state_get<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<String>, Halt>> {
        self.looked_up.lock().unwrap().push(key.to_owned());
        Box::pin(async move { Ok(self.state.get(key).cloned()) })
    }

    fn state_keys<'a>(&'a self, prefix: &'a str, most: u32) -> BoxFuture<'a, Result<Vec<String>, Halt>> {
        self.looked_up.lock().unwrap().push(prefix.to_owned());
        let found = self.state.keys().filter(move |key| key.starts_with(prefix)).take(most as usize);
        Box::pin(async move { Ok(found.cloned().collect()) })
    }

    fn resolve<'a>(&'a self, stream: &'a str, id: &'a str) -> BoxFuture<'a, Result<Option<External>, Halt>> {
        self.looked_up.lock().unwrap().push(format!("{stream}/{id}"));
        Box::pin(async move { Ok(Some(External { id: format!("\"{stream}/{id}\""), version: None })) })
    }

    fn progress(&self, done: u64, total: Option<u64>, note: &str) {
        let niceness = rustix::process::getpriority_process(None).unwrap();
        self.progress.lock().unwrap().push((done, total, note.to_owned(), niceness));
    }

    fn pause<'a>(&'a self, ms: u64) -> BoxFuture<'a, ()> {
        self.paused.lock().unwrap().push(ms);
        Box::pin(async {})
    }
}
