//! A connector that means harm: one action for each thing that no guest must be able to do to its host or to its
//! neighbours. The stories of `tests/tests/stories/hostile` say what has to become of each.
//!
//! Whatever an attack learns is its answer, so that a story sees what a thief would have seen.
//!
//! To add an attack: a file with what it does, an action here, and a story.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "doing what one should not do is what this connector is for"
)]

mod answers;
mod crash;
mod destinations;
mod endless_loop;
mod flood_of_answers;
mod flood_of_events;
mod flood_of_lines;
mod flood_of_requests;
mod flood_of_work;
mod headers;
mod host_calls;
mod memory;
mod recursion;
mod requests_too_large;
mod spoils;
mod state;
mod strangers;
mod surroundings;
mod time_and_chance;
mod waiting;

use bulkhead_sdk::prelude::*;

struct Hostile;

/// What any action can answer.
type Answer<T = Value> = Result<T, Failure>;

#[derive(Serialize, Deserialize, JsonSchema)]
struct Said {
    said: String,
}

#[connector]
impl Hostile {
    /// Answers what it was given: a neighbour that means no harm.
    #[action(read_only)]
    fn behave(input: Said) -> Answer<Said> {
        Ok(input)
    }

    /// Never ends.
    #[action]
    fn loop_for_ever() -> Answer {
        endless_loop::spin()
    }

    /// Calls the host, for ever.
    #[action]
    fn call_for_ever(input: host_calls::Call) -> Answer {
        host_calls::for_ever(input)
    }

    /// Waits for nothing, for ever.
    #[action]
    fn poll_for_ever(input: host_calls::Nap) -> Answer {
        host_calls::poll_for_ever(&input)
    }

    /// Says how far it is, more often than anybody wants to know.
    #[action]
    fn flood_progress(input: host_calls::Progress) -> Answer {
        host_calls::flood_progress(&input)
    }

    /// Takes memory until there is none.
    #[action]
    fn take_all_memory() -> Answer {
        memory::hoard()
    }

    /// Calls itself until there is no stack.
    #[action]
    fn recurse(input: recursion::From) -> Answer {
        recursion::deep(&input)
    }

    /// Breaks in one of the ways in which code breaks.
    #[action]
    fn crash(input: crash::Crash) -> Answer {
        crash::now(input)
    }

    /// Holds its place without doing anything.
    #[action]
    fn sleep(input: waiting::Nap) -> Answer {
        waiting::sleep(&input)
    }

    /// Asks to be called again, for ever.
    #[action]
    fn come_back(input: waiting::ComeBack, resume: Option<u64>) -> Answer<Outcome<Value>> {
        waiting::come_back(&input, resume)
    }

    /// Fills the log.
    #[action]
    fn flood_log(input: flood_of_lines::Flood) -> Answer {
        flood_of_lines::flood(&input)
    }

    /// Reports more events than anybody wants to know of.
    #[action]
    fn flood_events(input: flood_of_events::Flood) -> Answer<Outcome<Value>> {
        flood_of_events::flood(&input)
    }

    /// Noise
    #[event("noise")]
    type Noise = Value;

    /// Reports events that refer to more records than anybody wants to look up.
    #[action]
    fn flood_references(input: flood_of_events::Crowd) -> Answer<Outcome<Value>> {
        flood_of_events::refer(&input)
    }

    /// A crowd
    #[event("crowd")]
    type CrowdSeen = flood_of_events::About;

    /// Reports something that its descriptor does not list.
    #[action]
    fn report_undeclared() -> Answer<Outcome<Value>> {
        flood_of_events::undeclared()
    }

    /// Sends more requests than it may.
    #[action]
    fn flood_requests(input: flood_of_requests::Flood) -> Answer {
        flood_of_requests::flood(&input)
    }

    /// Asks for more than its host can keep.
    #[action]
    fn flood_answers(input: flood_of_answers::Flood) -> Answer {
        flood_of_answers::flood(&input)
    }

    /// Asks the store, again and again.
    #[action]
    fn flood_store(input: flood_of_work::Questions) -> Answer {
        flood_of_work::ask(&input)
    }

    /// Asks the store for what no store has.
    #[action]
    fn ask_oddly() -> Answer {
        flood_of_work::ask_oddly()
    }

    /// Pulls far more than it was asked for.
    #[pull("noise")]
    fn pull_noise(_: Pull) -> Answer<Page<Value>> {
        Ok(flood_of_work::page())
    }

    /// Is never done, and never gets on.
    #[pull("standing-still")]
    fn stand_still(pull: Pull<Value>) -> Answer<Page<Value, Value>> {
        Ok(strangers::standing_still(&pull))
    }

    /// Is never done: two cursors in turn.
    #[pull("to-and-fro")]
    fn go_to_and_fro(pull: Pull<u64>) -> Answer<Page<Value, u64>> {
        Ok(strangers::going_round(&pull, 0, 2))
    }

    /// Is never done: back to an older cursor, again and again.
    #[pull("round-and-round")]
    fn go_round_and_round(pull: Pull<u64>) -> Answer<Page<Value, u64>> {
        Ok(strangers::going_round(&pull, 3, 5))
    }

    /// Puts everything into its cursor.
    #[pull("remembering")]
    fn remember_all(_: Pull<Value>) -> Answer<Page<Value, Value>> {
        Ok(strangers::remembering())
    }

    /// Breaks while it is pulled.
    #[pull("breaking")]
    fn break_pulled(_: Pull) -> Answer<Page<Value>> {
        crash::now(crash::Crash::Panic)
    }

    /// Breaks while it is pushed.
    #[push("breaking")]
    fn break_pushed(_: Outgoing<Value>) -> Answer<Pushed> {
        crash::now(crash::Crash::Panic)
    }

    /// Puts what its provider says into a record.
    #[pull("spoils")]
    fn pull_spoils(_: Pull) -> Answer<Page<Value>> {
        spoils::page()
    }

    /// Asks for the stream to be pulled, again and again.
    #[receive]
    fn receive(delivery: Delivery) -> Answer<Receipt> {
        flood_of_work::receive(&delivery)
    }

    /// Answers something that cannot be used.
    #[action]
    fn answer_garbage(input: answers::Kind) -> Answer<answers::Garbage> {
        answers::garbage(&input)
    }

    /// Sends a large body somewhere.
    #[action]
    fn deliver(input: spoils::Parcel) -> Answer<destinations::Reached> {
        Ok(spoils::deliver(&input))
    }

    /// Answers what a provider says.
    #[action]
    fn repeat(input: spoils::Source) -> Answer<answers::Garbage> {
        spoils::repeat(&input)
    }

    /// Answers what a provider says, once it was read.
    #[action]
    fn read(input: spoils::Source) -> Answer {
        spoils::read(&input)
    }

    /// Writes down what a provider says, wherever it can.
    #[action]
    fn smuggle_spoils(input: spoils::Source) -> Answer<Outcome<Value>> {
        spoils::smuggle(&input)
    }

    /// Fails with what a provider says.
    #[action]
    fn fail_with_spoils(input: spoils::Source) -> Answer {
        spoils::fail_with(&input)
    }

    /// Asks for what is somebody else's.
    #[action]
    fn guess(input: strangers::Guess) -> Answer {
        strangers::guess(&input)
    }

    /// Fails with a message made to harm whoever reads it.
    #[action]
    fn complain() -> Answer {
        answers::complain()
    }

    /// Asks for a URL, whichever.
    #[action]
    fn reach(input: destinations::Target) -> Answer<destinations::Reached> {
        Ok(destinations::reach(&input))
    }

    /// Goes where a URL leads, and where that leads, hop by hop.
    #[action]
    fn chase(input: destinations::Target) -> Answer {
        Ok(destinations::chase(input))
    }

    /// Sends a request, whichever, and answers all that came back.
    #[action]
    fn correspond(input: destinations::Letter) -> Answer {
        Ok(destinations::correspond(&input))
    }

    /// Sends headers that would end one request and begin another.
    #[action]
    fn smuggle() -> Answer {
        headers::smuggle()
    }

    /// Sends headers that are the host's business.
    #[action]
    fn impersonate() -> Answer {
        headers::impersonate()
    }

    /// Sends a request that is too large in one way.
    #[action]
    fn send_too_much(input: requests_too_large::Size) -> Answer<destinations::Reached> {
        Ok(requests_too_large::send(&input))
    }

    /// Keeps more than it may.
    #[action]
    fn hoard_state(input: state::Hoard) -> Answer {
        state::hoard(&input)
    }

    /// Reads all that it keeps.
    #[action]
    fn read_all_state() -> Answer {
        state::read_all()
    }

    /// Keeps what only looks like a value.
    #[action]
    fn keep_garbage(input: answers::Kind) -> Answer {
        state::keep_garbage(&input)
    }

    /// Keeps a word, and then perhaps breaks.
    #[action]
    fn keep(input: state::Keep) -> Answer {
        state::keep(&input)
    }

    /// Says what it finds kept.
    #[action]
    fn recall() -> Answer {
        state::recall()
    }

    /// Keeps a word although it said that it only reads.
    #[action(read_only)]
    fn keep_while_reading(input: state::Keep) -> Answer {
        state::keep(&input)
    }

    /// Looks for everything that a program usually finds around itself.
    #[action]
    fn look_around(input: surroundings::Nearby) -> Answer {
        surroundings::look(&input)
    }

    /// Looks at every clock and draws from every source of chance.
    #[action]
    fn observe() -> Answer {
        time_and_chance::observe()
    }
}
