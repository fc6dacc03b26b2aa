//! Where a run begins that its caller lets begin on the caller's own threads: there, for a slice, and never on the last.
//! Its progress says on which thread it is.

use std::sync::{Arc, Mutex, mpsc};

use bulkhead_runtime::{Call, Decision, External, Finished, Halt, Invocation, Loaded, NoPorts, Ports, Sent, Stop};
use futures::future::BoxFuture;

use crate::guest::Guest;
use crate::host::{Sandbox, acting, stop, value};

/// What a guests' thread is called.
const GUESTS: &str = "bulkhead-guest";

/// Ports that lead nowhere, and know where the guest is.
struct Watched {
    threads: Mutex<Vec<String>>,
    at_progress: Box<dyn Fn() + Send + Sync>,
}

impl Watched {
    fn new(at_progress: impl Fn() + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self { threads: Mutex::default(), at_progress: Box::new(at_progress) })
    }

    /// Of each progress, whether it was on a guests' thread.
    fn apart(&self) -> Vec<bool> {
        self.threads.lock().unwrap().iter().map(|name| name == GUESTS).collect()
    }
}

impl Ports for Watched {
    fn progress(&self, _done: u64, _total: Option<u64>, _note: &str) {
        self.threads.lock().unwrap().push(std::thread::current().name().unwrap_or_default().to_owned());
        (self.at_progress)();
    }

    fn before_send<'a>(&'a self, call: &'a Call) -> BoxFuture<'a, Decision> {
        NoPorts.before_send(call)
    }

    fn send<'a>(&'a self, call: &'a Call) -> BoxFuture<'a, Sent> {
        NoPorts.send(call)
    }

    fn state_get<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<String>, Halt>> {
        NoPorts.state_get(key)
    }

    fn state_keys<'a>(&'a self, prefix: &'a str, most: u32) -> BoxFuture<'a, Result<Vec<String>, Halt>> {
        NoPorts.state_keys(prefix, most)
    }

    fn resolve<'a>(&'a self, stream: &'a str, id: &'a str) -> BoxFuture<'a, Result<Option<External>, Halt>> {
        NoPorts.resolve(stream, id)
    }
}

/// Says where it is, computes for some milliseconds if it is asked to, and says so again.
async fn telling(sandbox: &Sandbox, rounds: u32) -> Loaded {
    let mut guest = Guest::new();
    let progress = format!("(call $progress (i64.const 1) (i32.const 0) (i64.const 0) {})", guest.text("here"));
    let compute = format!(
        "(loop $l (br_if $l (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const {rounds}))))"
    );
    let wasm = guest.act(&format!("{progress} {compute} {progress} (call $done_number (i64.const 7))")).build();
    sandbox.load(&wasm).await
}

const LITTLE: u32 = 10;
/// Some 10 ms.
const MUCH: u32 = 10_000_000;

/// On a thread of the test's runtime, as a worker is.
async fn here(sandbox: &Sandbox, loaded: &Loaded, ports: &Arc<Watched>) -> Finished {
    here_of(sandbox, loaded, ports, 0).await
}

async fn here_of(sandbox: &Sandbox, loaded: &Loaded, ports: &Arc<Watched>, whose: u128) -> Finished {
    let (runtime, invocation) = (sandbox.runtime.clone(), Invocation { ports: ports.clone(), whose, ..acting(loaded) });
    tokio::spawn(async move { runtime.invoke_here(invocation).await }).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_needs_little_gets_it_on_the_thread_that_asks() {
    let sandbox = Sandbox::start();
    let loaded = telling(&sandbox, LITTLE).await;
    // The first ones need more than that: nothing is warm.
    for _ in 0..200 {
        let ports = Watched::new(|| {});
        assert_eq!(value(&here(&sandbox, &loaded, &ports).await), "7");
        assert_eq!(sandbox.runtime.status().free_slots, 4);
        if ports.apart() == [false, false] {
            return;
        }
    }
    panic!("each of them went elsewhere");
}

/// Mutations: `Meter::overran`, never: it stays where it is. `Linked::begins_here`, always: each run of it begins on the
/// thread that asks. `RUNS_APART`, fewer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_computes_goes_on_over_there_and_the_next_of_its_component_begin_there() {
    let sandbox = Sandbox::start();
    let (loaded, ports) = (telling(&sandbox, MUCH).await, Watched::new(|| {}));
    for _ in 0..70 {
        assert_eq!(value(&here(&sandbox, &loaded, &ports).await), "7");
    }
    let said = ports.apart();
    assert!(said.iter().skip(1).step_by(2).all(|apart| *apart), "it ended where it began: {said:?}");
    let began: Vec<usize> = (0..70).filter(|run| !said[2 * run]).collect();
    assert!(!began.is_empty(), "each of them began elsewhere");
    // One that was slow before it said anything counts, too, and is not seen here.
    assert!(began.iter().zip(began.iter().skip(1)).all(|(one, next)| next - one > 16), "{began:?}");
}

/// Mutation: `Linked::apart`, one number for all.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_has_a_component_compute_sends_no_run_of_anothers_elsewhere() {
    let sandbox = Sandbox::start();
    let loaded = telling(&sandbox, MUCH).await;
    let mut began = 0;
    for whose in 0..12 {
        let ports = Watched::new(|| {});
        assert_eq!(value(&here_of(&sandbox, &loaded, &ports, whose).await), "7");
        began += usize::from(!ports.apart()[0]);
    }
    // Each of them computes, and nobody's first run is the one after.
    assert!(began > 1, "{began} of 12 began on the thread that asked");
}

/// Mutations: `Executor::begin`, all threads instead of all but one; `Executor::leave`, given back where none was had.
#[tokio::test]
async fn the_only_thread_is_never_a_guests() {
    let sandbox = Sandbox::start();
    let (loaded, ports) = (telling(&sandbox, LITTLE).await, Watched::new(|| {}));
    for _ in 0..3 {
        assert_eq!(value(&here(&sandbox, &loaded, &ports).await), "7");
    }
    assert_eq!(ports.apart(), [true; 6]);
}

/// Mutation: `Executor::leave`, without the comparison.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_threads_one_is_left_to_others() {
    let sandbox = Sandbox::start();
    let loaded = telling(&sandbox, LITTLE).await;
    // One that was slow before it came so far holds another thread.
    for _ in 0..200 {
        let (arrived, wait_for_it) = mpsc::channel();
        let (go_on, told) = mpsc::channel::<()>();
        let told = Mutex::new(told);
        let holding = Watched::new(move || {
            let _ = arrived.send(());
            let _ = told.lock().unwrap().recv();
        });
        let first = {
            let (runtime, ports) = (sandbox.runtime.clone(), holding.clone());
            let invocation = Invocation { ports, whose: 1, ..acting(&loaded) };
            tokio::spawn(async move { runtime.invoke_here(invocation).await })
        };
        tokio::task::spawn_blocking(move || wait_for_it.recv()).await.unwrap().unwrap();
        let ports = Watched::new(|| {});
        assert_eq!(value(&here(&sandbox, &loaded, &ports).await), "7");
        drop(go_on);
        assert_eq!(value(&first.await.unwrap()), "7");
        if !holding.apart()[0] {
            return assert_eq!(ports.apart(), [true, true], "the other thread was taken");
        }
    }
    panic!("each of them went elsewhere");
}

/// Mutation: `Beginning::turn`, without `catch_unwind`: the caller panics.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_breaks_in_a_run_does_not_break_its_caller() {
    let sandbox = Sandbox::start();
    let (loaded, ports) = (telling(&sandbox, LITTLE).await, Watched::new(|| panic!("a fault of the host's")));
    assert!(matches!(stop(&here(&sandbox, &loaded, &ports).await), Stop::Host { .. }));
    assert_eq!(sandbox.runtime.status().free_slots, 4);
}
