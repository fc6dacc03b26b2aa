//! What `#[connector]` writes calls to: decode, call the author's function, encode.

use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::descriptor::{self, Action, Event, Stream};
use crate::outcome::Answer;
use crate::{Failure, Outcome, Outgoing, Page, Pull, Pushed, json};

/// One of the author's.
type Function<In, Out, E> = fn(In) -> Result<Out, E>;

pub fn unknown(what: &str, name: &str) -> Failure {
    Failure::unsupported(format!("This connector has no {what} \"{name}\"."))
}

/// Lets functions fail with anything that becomes a failure.
pub fn answered<T, E: Into<Failure>>(result: Result<T, E>) -> Result<T, Failure> {
    result.map_err(Into::into)
}

pub fn act_without_input<R: Answer>(resume: Option<&str>, function: fn() -> R) -> Result<Outcome<String>, Failure> {
    never_parked(resume)?;
    finished(function())
}

pub fn act<I, R>(input: &str, resume: Option<&str>, function: fn(I) -> R) -> Result<Outcome<String>, Failure>
where
    I: DeserializeOwned,
    R: Answer,
{
    never_parked(resume)?;
    finished(function(json::input(input)?))
}

pub fn act_or_resume<I, S, R>(
    input: &str,
    resume: Option<&str>,
    function: fn(I, Option<S>) -> R,
) -> Result<Outcome<String>, Failure>
where
    I: DeserializeOwned,
    S: DeserializeOwned,
    R: Answer,
{
    let resume = resume.map(|text| json::kept("What this action left to go on from", text)).transpose()?;
    finished(function(json::input(input)?, resume))
}

fn finished(answer: impl Answer) -> Result<Outcome<String>, Failure> {
    answer.into_outcome()?.try_map(|value| json::encode(&value))
}

fn never_parked(resume: Option<&str>) -> Result<(), Failure> {
    match resume {
        None => Ok(()),
        Some(_) => Err(Failure::unsupported("This action does not go on from where it left: it takes no `resume`.")),
    }
}

pub fn pull<T, C, E>(
    request: Pull<String>,
    function: Function<Pull<C>, Page<T, C>, E>,
) -> Result<Page<String, String>, Failure>
where
    T: Serialize,
    C: Serialize + DeserializeOwned,
    E: Into<Failure>,
{
    answered(function(request.decode()?))?.encode()
}

/// One by one. A failure of the connection as a whole (no longer authorised, rate-limited, unavailable) fails the
/// call if it is the first, and is the answer to everything that follows otherwise: trying on would not help.
pub fn push_each<T, E>(
    changes: Vec<Outgoing<String>>,
    function: Function<Outgoing<T>, Pushed, E>,
) -> Result<Vec<Pushed>, Failure>
where
    T: DeserializeOwned,
    E: Into<Failure>,
{
    let mut answers = Vec::with_capacity(changes.len());
    let mut down: Option<Failure> = None;
    for change in changes {
        let pushed = match &down {
            Some(failure) => Err(failure.clone()),
            None => change.decode().and_then(|change| answered(function(change))),
        };
        match pushed {
            Err(failure) if failure.concerns_connection() && answers.is_empty() => return Err(failure),
            Err(failure) => {
                if failure.concerns_connection() {
                    down = Some(failure.clone());
                }
                answers.push(Pushed::Failed(failure));
            }
            Ok(pushed) => answers.push(pushed),
        }
    }
    Ok(answers)
}

/// All at once. Changes that are no `T` are answered here; the function sees the others.
pub fn push_batch<T, E>(
    changes: Vec<Outgoing<String>>,
    function: Function<Vec<Outgoing<T>>, Vec<Pushed>, E>,
) -> Result<Vec<Pushed>, Failure>
where
    T: DeserializeOwned,
    E: Into<Failure>,
{
    let decoded: Vec<Result<Outgoing<T>, Failure>> = changes.into_iter().map(Outgoing::decode).collect();
    let mut refused = Vec::with_capacity(decoded.len());
    let mut good = Vec::with_capacity(decoded.len());
    for change in decoded {
        match change {
            Ok(change) => {
                refused.push(None);
                good.push(change);
            }
            Err(failure) => refused.push(Some(failure)),
        }
    }
    let asked = good.len();
    let answers = if good.is_empty() { Vec::new() } else { answered(function(good))? };
    if answers.len() != asked {
        let message = format!("The connector gave {} answers to {asked} changes.", answers.len());
        return Err(Failure::other("wrong-number-of-answers", message));
    }
    let mut answers = answers.into_iter();
    Ok(refused.into_iter().filter_map(|refused| refused.map(Pushed::Failed).or_else(|| answers.next())).collect())
}

fn action<R: Answer>(name: &str, title: &str, description: &str, read_only: bool, input: schemars::Schema) -> Action {
    Action {
        name: name.to_owned(),
        title: title.to_owned(),
        description: description.to_owned(),
        read_only,
        input,
        output: descriptor::given::<R::Value>(),
    }
}

pub fn describe_action_without_input<R: Answer>(
    name: &str,
    title: &str,
    description: &str,
    read_only: bool,
    _: fn() -> R,
) -> Action {
    action::<R>(name, title, description, read_only, descriptor::nothing())
}

pub fn describe_action<I: JsonSchema, R: Answer>(
    name: &str,
    title: &str,
    description: &str,
    read_only: bool,
    _: fn(I) -> R,
) -> Action {
    action::<R>(name, title, description, read_only, descriptor::accepted::<I>())
}

pub fn describe_resumable_action<I: JsonSchema, S, R: Answer>(
    name: &str,
    title: &str,
    description: &str,
    read_only: bool,
    _: fn(I, Option<S>) -> R,
) -> Action {
    action::<R>(name, title, description, read_only, descriptor::accepted::<I>())
}

fn stream(name: &str, title: &str, record: schemars::Schema, pull: bool, push: bool) -> Stream {
    Stream { name: name.to_owned(), title: title.to_owned(), record, pull, push }
}

type PullFunction<T, C, E> = fn(Pull<C>) -> Result<Page<T, C>, E>;
type PushFunction<T, E> = fn(Outgoing<T>) -> Result<Pushed, E>;
type BatchFunction<T, E> = fn(Vec<Outgoing<T>>) -> Result<Vec<Pushed>, E>;

pub fn describe_pulled_stream<T: JsonSchema, C, E>(name: &str, title: &str, _: PullFunction<T, C, E>) -> Stream {
    stream(name, title, descriptor::given::<T>(), true, false)
}

pub fn describe_pushed_stream<T: JsonSchema, E>(name: &str, title: &str, _: PushFunction<T, E>) -> Stream {
    stream(name, title, descriptor::accepted::<T>(), false, true)
}

pub fn describe_batch_pushed_stream<T: JsonSchema, E>(name: &str, title: &str, _: BatchFunction<T, E>) -> Stream {
    stream(name, title, descriptor::accepted::<T>(), false, true)
}

/// Both functions have the same record type: a stream is one kind of thing.
pub fn describe_stream<T: JsonSchema, C, E, F>(
    name: &str,
    title: &str,
    _: PullFunction<T, C, E>,
    _: PushFunction<T, F>,
) -> Stream {
    stream(name, title, descriptor::accepted::<T>(), true, true)
}

pub fn describe_batch_stream<T: JsonSchema, C, E, F>(
    name: &str,
    title: &str,
    _: PullFunction<T, C, E>,
    _: BatchFunction<T, F>,
) -> Stream {
    stream(name, title, descriptor::accepted::<T>(), true, true)
}

pub fn describe_event<T: JsonSchema>(name: &str, title: &str) -> Event {
    Event { name: name.to_owned(), title: title.to_owned(), data: descriptor::given::<T>() }
}
