//! The host of the current thread.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{Answer, Sent};
use crate::External;
use crate::http::Wire;
use crate::log::Level;

thread_local! {
    static CURRENT: RefCell<Option<Rc<RefCell<World>>>> = const { RefCell::new(None) };
}

/// This thread's host, until it is dropped.
pub struct Host {
    world: Rc<RefCell<World>>,
}

/// One line of the run's log.
#[derive(Debug, Clone, PartialEq)]
pub struct LogLine {
    pub level: Level,
    pub message: String,
    /// An object; `null` where the line has no fields.
    pub fields: Value,
}

type Provider = Rc<dyn Fn(&Sent) -> Answer>;

/// Everything a connector can see or change.
pub(super) struct World {
    pub(super) settings: Value,
    pub(super) environment: BTreeMap<String, String>,
    pub(super) account: Option<Value>,
    pub(super) webhook_url: Option<String>,
    pub(super) now_ms: u64,
    pub(super) random: u64,
    pub(super) links: BTreeMap<(String, String), External>,
    pub(super) state: BTreeMap<String, String>,
    pub(super) log: Vec<LogLine>,
    answers: VecDeque<Answer>,
    provider: Option<Provider>,
    requests: Vec<Sent>,
}

impl Host {
    /// Starts this thread's host. Panics if the thread has one already.
    pub fn start() -> Host {
        let world = Rc::new(RefCell::new(World {
            settings: Value::Object(serde_json::Map::new()),
            environment: BTreeMap::new(),
            account: None,
            webhook_url: None,
            now_ms: 1_700_000_000_000,
            random: 0,
            links: BTreeMap::new(),
            state: BTreeMap::new(),
            log: Vec::new(),
            answers: VecDeque::new(),
            provider: None,
            requests: Vec::new(),
        }));
        let before = CURRENT.replace(Some(Rc::clone(&world)));
        assert!(before.is_none(), "this thread has a testing::Host already: keep one per test");
        Host { world }
    }

    /// What `context::settings` gives.
    pub fn settings(&self, settings: impl Into<Value>) {
        self.world.borrow_mut().settings = settings.into();
    }

    /// One variable of the environment.
    pub fn variable(&self, name: impl Into<String>, value: impl Into<String>) {
        self.world.borrow_mut().environment.insert(name.into(), value.into());
    }

    /// What `context::account` gives.
    pub fn account(&self, account: impl Into<Value>) {
        self.world.borrow_mut().account = Some(account.into());
    }

    /// What `context::webhook_url` gives.
    pub fn webhook_url(&self, url: impl Into<String>) {
        self.world.borrow_mut().webhook_url = Some(url.into());
    }

    /// The time, in milliseconds since 1970. It stands still.
    pub fn clock_ms(&self, now_ms: u64) {
        self.world.borrow_mut().now_ms = now_ms;
    }

    /// Links one of our records, for `context::resolve`.
    pub fn link(&self, stream: impl Into<String>, id: impl Into<String>, external: External) {
        self.world.borrow_mut().links.insert((stream.into(), id.into()), external);
    }

    /// State left by an earlier run.
    pub fn set_state(&self, key: impl Into<String>, value: &impl Serialize) {
        let text = serde_json::to_string(value).expect("state is JSON");
        self.world.borrow_mut().state.insert(key.into(), text);
    }

    /// The state as it is now.
    pub fn state<T: DeserializeOwned>(&self, key: &str) -> Option<T> {
        let world = self.world.borrow();
        world.state.get(key).map(|text| serde_json::from_str(text).expect("the state has the asked-for shape"))
    }

    /// Answers one request. Answers are given in the order they were scripted.
    pub fn answer(&self, answer: impl Into<Answer>) {
        self.world.borrow_mut().answers.push_back(answer.into());
    }

    /// Answers every request that no scripted answer is left for.
    pub fn answer_with(&self, provider: impl Fn(&Sent) -> Answer + 'static) {
        self.world.borrow_mut().provider = Some(Rc::new(provider));
    }

    /// What was sent so far.
    pub fn requests(&self) -> Vec<Sent> {
        self.world.borrow().requests.clone()
    }

    /// What was logged so far.
    pub fn logs(&self) -> Vec<LogLine> {
        self.world.borrow().log.clone()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // The thread may be ending, and its locals with it.
        let _ = CURRENT.try_with(|current| current.take());
        let left = self.world.borrow().answers.len();
        if !std::thread::panicking() {
            assert!(left == 0, "{left} scripted answers were never asked for");
        }
    }
}

/// Panics where the test has started no host.
pub(super) fn with<T>(use_world: impl FnOnce(&mut World) -> T) -> T {
    try_with(use_world).expect("no host on this thread: start one with testing::Host::start()")
}

pub(super) fn try_with<T>(use_world: impl FnOnce(&mut World) -> T) -> Option<T> {
    let world = CURRENT.with_borrow(Clone::clone)?;
    let mut world = world.borrow_mut();
    Some(use_world(&mut world))
}

pub(super) fn answer(wire: Wire) -> Answer {
    let sent = Sent::new(wire);
    let (scripted, provider) = with(|world| {
        world.requests.push(sent.clone());
        (world.answers.pop_front(), world.provider.clone())
    });
    // The provider runs without the world borrowed: it may look at it.
    match (scripted, provider) {
        (Some(answer), _) => answer,
        (None, Some(provider)) => provider(&sent),
        (None, None) => panic!("no answer is scripted for {} {}", sent.method, sent.url),
    }
}
