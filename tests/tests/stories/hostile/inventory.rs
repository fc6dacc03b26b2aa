//! Every misbehaviour there is, as a table: who does it, and what it has to come to. One host suffers all of them
//! (`contained.rs`), and a neighbour is timed meanwhile (`walls.rs`).
//!
//! To add one: a line here. What has to be seen of it besides its end is a story of its own in one of the files beside.

use serde_json::{Value, json};

use super::belongings;
use super::plots::{self, Plot};
use super::raw;
use super::uploads;

/// One misbehaviour.
pub(super) struct Misbehaviour {
    pub(super) name: &'static str,
    pub(super) attack: Attack,
    pub(super) ends: Ends,
}

/// Who does it, and how it is set going.
pub(super) enum Attack {
    /// An action of that connector, with each of these inputs.
    Act { connector: &'static str, action: &'static str, inputs: Vec<Value> },
    /// Each of these streams is pulled, page after page.
    Pull { connector: &'static str, streams: Vec<&'static str> },
    /// A record of each of these streams is pushed.
    Push { connector: &'static str, streams: Vec<&'static str> },
    /// Each of these is delivered.
    Receive { connector: &'static str, bodies: Vec<Value> },
    /// A connection of each of these is made, which asks the guest's `check`.
    Connect { connectors: Vec<&'static str> },
    /// A component is uploaded, the nth of its kind.
    Upload(fn(u32) -> Vec<u8>),
    /// What takes several steps; the nth time.
    Plot(Plot),
    /// These bytes are sent there.
    Post { path: &'static str, body: fn() -> Vec<u8> },
}

/// What it has to come to.
pub(super) enum Ends {
    /// The run fails by this code.
    Fails(&'static str),
    /// The guest's code broke, in this way.
    Traps(&'static str),
    /// Refused, by this code.
    Refused(&'static str),
    /// The run says no more than this may be.
    Answers(fn(&Value) -> bool),
}

use Ends::{Answers, Fails, Refused, Traps};

pub(super) fn all() -> Vec<Misbehaviour> {
    let groups =
        [time(), memory(), code(), floods(), upstreams(), documents(), texts(), exports(), strangers(), secrets()];
    groups.into_iter().chain([bursts()]).flatten().collect()
}

fn is(name: &'static str, attack: Attack, ends: Ends) -> Misbehaviour {
    Misbehaviour { name, attack, ends }
}

/// An action of the hostile connector.
fn act(action: &'static str, input: Value) -> Attack {
    Attack::Act { connector: "hostile", action, inputs: vec![input] }
}

fn pull(stream: &'static str) -> Attack {
    Attack::Pull { connector: "hostile", streams: vec![stream] }
}

fn receive(connector: &'static str, body: Value) -> Attack {
    Attack::Receive { connector, bodies: vec![body] }
}

fn reach(path: &str) -> Attack {
    act("reach", json!({ "method": "GET", "url": format!("https://api.allowed.example/v1/{path}") }))
}

fn source(connector: &'static str, action: &'static str, path: &str) -> Attack {
    let url = format!("https://api.allowed.example/v1/{path}");
    Attack::Act { connector, action, inputs: vec![json!({ "url": url })] }
}

fn error_is(run: &Value, kind: &str) -> bool {
    run["output"]["error"]["kind"] == kind
}

fn time() -> Vec<Misbehaviour> {
    let around = |call: &str| act("call_for_ever", json!({ "around": call }));
    vec![
        is("endless loop", act("loop_for_ever", json!({})), Fails("cpu-limit")),
        is("loop around the log", around("log"), Fails("cpu-limit")),
        is("loop around progress", around("progress"), Fails("cpu-limit")),
        is("loop around the clock", around("clock"), Fails("cpu-limit")),
        is("loop around WASI's clock", around("wasi-clock"), Fails("cpu-limit")),
        is("loop around chance", around("random"), Fails("cpu-limit")),
        is("loop around settings", around("settings"), Fails("cpu-limit")),
        is("loop around a buffered write", around("written"), Fails("cpu-limit")),
        is("loop around the store", around("state"), Fails("lookups-limit")),
        is("zero-timeout poll loop", act("poll_for_ever", json!({ "nanoseconds": 0 })), Fails("cpu-limit")),
        is("poll loop of next to no time", act("poll_for_ever", json!({ "nanoseconds": 1 })), Fails("wall-limit")),
        is("sleep without end", act("sleep", json!({ "seconds": 3_600 })), Fails("wall-limit")),
        is("sleep in every place", act("sleep", json!({ "seconds": 2 })), Answers(|run| run["output"] == "awake")),
        is("timing by the clock", act("observe", json!({})), Answers(|run| run["output"]["moved_by_work"] == false)),
    ]
}

fn memory() -> Vec<Misbehaviour> {
    vec![
        is("memory in steps", act("take_all_memory", json!({})), Fails("memory-limit")),
        is("stack overflow", act("recurse", json!({ "start": 1 })), Fails("stack-limit")),
        is("many memories", Attack::Upload(uploads::many_memories), Refused("does-not-load")),
        is("large memories", Attack::Upload(uploads::large_memories), Refused("describe-memory-limit")),
        is("many tables", Attack::Upload(uploads::many_tables), Refused("does-not-load")),
        is("large tables", Attack::Upload(uploads::large_tables), Refused("describe-table-limit")),
        is("handle leak", Attack::Upload(uploads::leaking_handles), Refused("describe-handles-limit")),
    ]
}

fn code() -> Vec<Misbehaviour> {
    vec![
        is("deep component types", Attack::Upload(uploads::deep_types), Refused("does-not-compile")),
        is("types that double", Attack::Upload(uploads::doubling_types), Refused("does-not-compile")),
        is("components that double", Attack::Upload(uploads::doubling_components), Refused("too-many-instances")),
        is("many core instances", Attack::Upload(uploads::many_instances), Refused("too-many-core-instances")),
        is("compiling without end", Attack::Upload(uploads::slow_to_compile), Refused("does-not-compile")),
        is("compiling in endless memory", Attack::Upload(uploads::hungry_to_compile), Refused("does-not-compile")),
        is("thousands of functions", Attack::Upload(uploads::many_functions), Answers(|told| told["already"] == false)),
        is("a function without end", Attack::Upload(uploads::large_function), Answers(|told| told["already"] == false)),
        is("32 MiB component", Attack::Upload(uploads::large), Answers(|told| told["already"] == false)),
        is("more than 32 MiB", Attack::Upload(uploads::too_large), Refused("component-too-large")),
        is("an export of another type", Attack::Upload(uploads::another_type), Refused("describe-bad-output")),
        is("an import of another type", Attack::Upload(uploads::another_import), Refused("does-not-load")),
        is("importing what is not offered", Attack::Upload(uploads::foreign_import), Refused("unknown-import")),
        is("importing more of sockets than there is", Attack::Upload(uploads::raw_sockets), Refused("does-not-load")),
        is("importing more of files than there is", Attack::Upload(uploads::raw_files), Refused("does-not-load")),
        is("importing another version's sockets", Attack::Upload(uploads::newer_sockets), Refused("unknown-import")),
        is("importing another version's files", Attack::Upload(uploads::newer_files), Refused("unknown-import")),
        is("a start that never ends", Attack::Upload(uploads::endless_start), Refused("describe-cpu-limit")),
        is("a describe that breaks", Attack::Upload(uploads::breaking_describe), Refused("describe-trapped")),
        is("a describe that is no text", Attack::Upload(uploads::lying_describe), Refused("describe-trapped")),
        is("a placement of a field of nobody's", Attack::Upload(uploads::foreign_field), Refused("invalid-manifest")),
        is("schemas that double", Attack::Upload(uploads::doubling_schemas), Refused("invalid-schema")),
    ]
}

fn floods() -> Vec<Misbehaviour> {
    let garbage = |kind: Value| act("answer_garbage", kind);
    let requests =
        |requests: u32, at_once: bool| act("flood_requests", json!({ "requests": requests, "at_once": at_once }));
    let hoard =
        |values: u32, bytes: u32| act("hoard_state", json!({ "values": values, "bytes": bytes, "prefix": "k" }));
    vec![
        is("enormous string", garbage(json!({ "kind": "huge", "bytes": 5 << 20 })), Fails("host-call-data-limit")),
        is("enormous list", requests(100_000, true), Fails("host-call-data-limit")),
        is(
            "log flood",
            act("flood_log", json!({ "lines": 6_000, "line_bytes": 200 })),
            Answers(|run| run["output"] == 6_000),
        ),
        is(
            "progress flood",
            act("flood_progress", json!({ "calls": 20_000, "note_bytes": 4_000 })),
            Answers(|run| run["output"] == 20_000),
        ),
        is("state flood, by values", hoard(17, 1 << 20), Answers(|run| run["output"]["stopped"] == "Full")),
        is("state flood, by keys", hoard(100_000, 3), Answers(|run| run["output"]["stopped"] == "Full")),
        is("state flood, run after run", Attack::Plot(plots::hoard_on_and_on), Fails("state-size-limit")),
        is("a value that is too large", hoard(1, (1 << 20) + 1), Answers(|run| run["output"]["stopped"] == "TooLarge")),
        is("thousand parallel requests", requests(1_000, true), Fails("requests-limit")),
        is("thousand requests in a row", requests(1_000, false), Fails("requests-limit")),
        is("event flood", act("flood_events", json!({ "events": 1_001 })), Fails("event-limit")),
        is("most events", act("flood_events", json!({ "events": 1_000 })), Answers(|run| run["output"] == 1_000)),
        is(
            "reference flood",
            act("flood_references", json!({ "events": 6, "records": 1_000 })),
            Fails("reference-limit"),
        ),
        is(
            "header bomb, by number",
            act("send_too_much", json!({ "of": "headers", "count": 10_000 })),
            Answers(|run| error_is(run, "too-large")),
        ),
        is(
            "header bomb, by size",
            act("send_too_much", json!({ "of": "header", "bytes": 1 << 20 })),
            Answers(|run| error_is(run, "too-large")),
        ),
        is("a page of more than was asked for", pull("noise"), Fails("bad-output")),
        is("a receipt without end", receive("hostile", json!({ "pulls": 10_000 })), Fails("bad-output")),
        is(
            "a webhook that is too large",
            Attack::Post { path: "{hook}", body: large_webhook },
            Refused("body-too-large"),
        ),
    ]
}

fn upstreams() -> Vec<Misbehaviour> {
    // It has all the time that there is: reading so much takes some.
    let flood = vec![json!({ "requests": 200, "at_once": true })];
    let answers = Attack::Act { connector: "patient", action: "flood_answers", inputs: flood };
    // More than the buffers on the way hold, and almost as much as a call may hand over.
    let deliver = |path: &str| {
        act("deliver", json!({ "url": format!("https://api.allowed.example/v1/{path}"), "bytes": 4_100_000 }))
    };
    vec![
        is("an upstream that never answers", reach("silent"), Fails("wall-limit")),
        is("an upstream that writes slowly", reach("drips"), Fails("wall-limit")),
        is("an upstream that never reads", deliver("deaf"), Fails("wall-limit")),
        is("an upstream that reads slowly", deliver("sips"), Fails("wall-limit")),
        is(
            "an upstream that reads slowly, and in time",
            deliver("gulps"),
            Answers(|run| run["output"]["answer"]["status"] == 200),
        ),
        is("an upstream without end", reach("endless"), Answers(|run| error_is(run, "too-large"))),
        is("answers that are too much together", answers, Fails("answers-limit")),
        is("gzip bomb", reach("gzip-bomb"), Answers(|run| error_is(run, "too-large"))),
        is("answered header bomb, by number", reach("many-headers"), Answers(|run| error_is(run, "broken"))),
        is("answered header bomb, by size", reach("long-header"), Answers(|run| error_is(run, "broken"))),
    ]
}

fn documents() -> Vec<Misbehaviour> {
    let garbage = |kind: &str| act("answer_garbage", json!({ "kind": kind }));
    let deep = |levels: u32| act("answer_garbage", json!({ "kind": "deep", "levels": levels }));
    let mut all = vec![
        is("depth bomb as an answer", deep(1_000_000), Fails("bad-output")),
        is("depth bomb of a provider, passed on", source("hostile", "repeat", "deep-bomb"), Fails("bad-output")),
        is("depth bomb of a provider, read", source("hostile", "read", "deep-objects"), Fails("unexpected-data")),
        is(
            "depth bomb as input",
            Attack::Post { path: "/v1/connections/{hostile}/actions/guess", body: deep_bomb },
            Refused("invalid-json"),
        ),
        is(
            "depth bomb as settings",
            Attack::Post { path: "/v1/connections", body: deep_settings },
            Refused("invalid-json"),
        ),
        is(
            "depth bomb as state",
            act("keep_garbage", json!({ "kind": "deep", "levels": 65 })),
            Answers(|run| run["output"]["refused"].is_string()),
        ),
        is("an answer that is no JSON", garbage("not-json"), Fails("bad-output")),
        is("an answer of half a character", garbage("half-a-character"), Fails("bad-output")),
        is("a number beyond all numbers", garbage("endless-number"), Fails("bad-output")),
        is("not a number of a provider, passed on", source("hostile", "repeat", "not-a-number"), Fails("bad-output")),
        is("two answers", garbage("two-documents"), Fails("bad-output")),
    ];
    let names = [
        "cursor: NaN",
        "cursor: infinity",
        "cursor: 1e999",
        "cursor: half a character",
        "cursor: two",
        "cursor: too deep",
        "cursor: nothing",
    ];
    all.extend(
        names
            .into_iter()
            .zip(raw::CURSORS)
            .map(|(name, (stream, _))| (name, Attack::Pull { connector: "pointing", streams: vec![stream] }))
            .map(|(name, attack)| is(name, attack, Fails("bad-output"))),
    );
    all.extend([
        is("the same cursor again", pull("standing-still"), Fails("cursor-stands-still")),
        is("two cursors in turn", pull("to-and-fro"), Fails("cursor-stands-still")),
        is("an older cursor again, and again", pull("round-and-round"), Fails("cursor-stands-still")),
        is("a cursor as long as what is pulled", pull("remembering"), Fails("cursor-limit")),
        is("a cursor of another list", Attack::Plot(plots::cursor_of_another_list), Refused("invalid-cursor")),
    ]);
    all
}

fn texts() -> Vec<Misbehaviour> {
    let lies = (0..raw::lies().len()).map(|nth| json!(nth + raw::FIRST_LIE)).collect();
    let pages = raw::LYING[..raw::lies_of_pages().len()].to_vec();
    let pushes = raw::LYING[..raw::lies_of_pushes().len()].to_vec();
    let mistaken = raw::MISTAKEN.to_vec();
    // Not quite JSON: the guest looks at the first letter.
    let receipts = raw::LYING[..raw::lies_of_receipts().len()].iter().map(|letter| json!(letter)).collect();
    vec![
        is(
            "invalid UTF-8 in every string",
            Attack::Act { connector: "lying", action: "act", inputs: lies },
            Traps("invalid-value"),
        ),
        is("invalid UTF-8 in a page", Attack::Pull { connector: "lying", streams: pages }, Traps("invalid-value")),
        is("invalid UTF-8 in a push", Attack::Push { connector: "lying", streams: pushes }, Traps("invalid-value")),
        is(
            "invalid UTF-8 in a receipt",
            Attack::Receive { connector: "lying", bodies: receipts },
            Traps("invalid-value"),
        ),
        is("invalid UTF-8 in a check", Attack::Connect { connectors: mistaken }, Refused("not-checked")),
        is("a failure that commands a terminal", act("complain", json!({})), Fails("[31mcode")),
    ]
}

/// Each export breaks by itself and by a panic (`describe` by itself: in `code`). Of those of the contract, `register` and
/// `unregister` are not here: nothing in the host asks for them yet.
fn exports() -> Vec<Misbehaviour> {
    let crash = |how: Value| act("crash", how);
    vec![
        is("panic in act", crash(json!({ "how": "panic" })), Traps("unreachable")),
        is("abort in act", crash(json!({ "how": "abort" })), Traps("unreachable")),
        is("exit in act", crash(json!({ "how": "exit", "code": 0 })), Traps("exit")),
        is(
            "trap in act",
            Attack::Act { connector: "breaking", action: "act", inputs: vec![json!(1)] },
            Traps("unreachable"),
        ),
        is("trap in pull", Attack::Pull { connector: "breaking", streams: vec!["things"] }, Traps("unreachable")),
        is("trap in push", Attack::Push { connector: "breaking", streams: vec!["things"] }, Traps("unreachable")),
        is("trap in receive", receive("breaking", json!({})), Traps("unreachable")),
        is("trap in check", Attack::Connect { connectors: vec!["unchecked"] }, Refused("not-checked")),
        is("panic in pull", pull("breaking"), Traps("unreachable")),
        is("panic in push", Attack::Push { connector: "hostile", streams: vec!["breaking"] }, Traps("unreachable")),
        is("panic in receive", receive("hostile", json!({ "panics": true })), Traps("unreachable")),
        is("panic in check", Attack::Plot(plots::panic_in_check), Refused("not-checked")),
        is("panic in describe", Attack::Upload(uploads::panicking_describe), Refused("describe-trapped")),
    ]
}

fn strangers() -> Vec<Misbehaviour> {
    let nowhere = json!({ "address": "127.0.0.1:1", "file": "/etc/passwd" });
    vec![
        is("files and sockets", act("look_around", nowhere), Answers(|run| run["output"]["found"] == json!({}))),
        is(
            "a host that no rule allows",
            act("reach", json!({ "method": "GET", "url": "https://169.254.169.254/latest/meta-data/" })),
            Answers(|run| error_is(run, "denied")),
        ),
        is(
            "redirects into the network, hop by hop",
            act("chase", json!({ "method": "GET", "url": "https://api.allowed.example/v1/hop" })),
            Answers(|run| {
                let hop = |nth: usize| (&run["output"][nth][0], &run["output"][nth][1]);
                run["output"].as_array().map(Vec::len) == Some(4)
                    && (0..3).all(|nth| hop(nth).1 == "302")
                    && hop(3) == (&json!("https://169.254.169.254/latest/meta-data/"), &json!("denied"))
            }),
        ),
        is(
            "another tenant's ids",
            act("guess", belongings::guesses()),
            Answers(|run| run["output"] == belongings::nothing()),
        ),
        is(
            "headers of a second request",
            act("smuggle", json!({})),
            Answers(|run| {
                run["output"].as_object().is_some_and(|all| all.values().all(|one| one == "invalid-request"))
            }),
        ),
        is("an event of nobody's", act("report_undeclared", json!({})), Fails("bad-output")),
        is(
            "state of an action that only reads",
            act("keep_while_reading", json!({ "word": "x", "then_break": false })),
            Answers(|run| run["output"]["refused"] == "ReadOnly"),
        ),
    ]
}

fn secrets() -> Vec<Misbehaviour> {
    let steals_nothing: fn(&Value) -> bool = |run| run["state"] == "succeeded" && !run.to_string().contains("sk_live");
    let not_pinned = |plot| (Attack::Plot(plot), Refused("not-pinned"));
    let plot = |name, (attack, ends)| is(name, attack, ends);
    vec![
        plot("a token URL changed in an upgrade", not_pinned(plots::another_token_url)),
        plot("a host changed in an upgrade", not_pinned(plots::another_host)),
        plot("a placement changed in an upgrade", not_pinned(plots::another_placement)),
        is("another connector's app", Attack::Plot(plots::app_of_another), Refused("unknown-app")),
        is("another token URL for somebody's app", Attack::Plot(plots::app_of_a_namesake), Refused("unknown-app")),
        is("another connector's capture", Attack::Upload(uploads::foreign_capture), Refused("invalid-manifest")),
        is("echo-service secret theft", source("keyed", "repeat", "echo"), Answers(steals_nothing)),
        is("a secret into log, event and state", source("keyed", "smuggle_spoils", "echo"), Answers(steals_nothing)),
        is(
            "a secret into a record",
            Attack::Pull { connector: "keyed", streams: vec!["spoils"] },
            Answers(steals_nothing),
        ),
        is("a secret into a failure", source("keyed", "fail_with_spoils", "echo"), Fails("spoils")),
    ]
}

/// What one call makes the host itself do at most.
fn bursts() -> Vec<Misbehaviour> {
    let items: Vec<_> = (0..1_000).map(|id| json!({ "id": id, "padding": "x".repeat(1_000) })).collect();
    let mut numbers = vec![json!(0); 2_000];
    numbers.push(json!("none"));
    let checked = Attack::Act { connector: "checking", action: "pay", inputs: vec![json!(numbers)] };
    vec![
        is(
            "a webhook of a thousand items",
            receive("itemised", json!(items)),
            Answers(|run| run["state"] == "succeeded"),
        ),
        is(
            "a webhook of a thousand items that came before",
            receive("numbered", json!(items)),
            Answers(|run| run["state"] == "succeeded"),
        ),
        is("two thousand runs by their routes", Attack::Plot(plots::fan_out), Answers(|runs| runs == &json!(2_001))),
        is(
            "a check that costs as much as it may",
            checked,
            Answers(|told| told["errors"][0]["message"].as_str().is_some_and(|said| said.contains("does not fit"))),
        ),
    ]
}

fn deep_bomb() -> Vec<u8> {
    let levels = 500_000;
    format!("{}{}", "[".repeat(levels), "]".repeat(levels)).into_bytes()
}

fn deep_settings() -> Vec<u8> {
    let bomb = String::from_utf8(deep_bomb()).unwrap();
    format!(r#"{{"connector": "hostile", "name": "c", "settings": {{"x": {bomb}}}}}"#).into_bytes()
}

fn large_webhook() -> Vec<u8> {
    vec![b' '; (1 << 20) + 1]
}
