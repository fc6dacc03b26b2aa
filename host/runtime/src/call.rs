//! One operation: which export it calls with what, and what its answer is. Functions that look alike, one arm each.

use wasmtime::Store;
use wasmtime::component::Instance;

use crate::answer::Checker;
use crate::bindings::bulkhead::connector::types as wit;
use crate::bindings::exports::bulkhead::connector::{streams, webhooks};
use crate::fault::stop_for;
use crate::guest::GuestState;
use crate::loaded::Linked;
use crate::operation::{ChangeOp, Delivery, Operation, Outgoing, PullMode, Registration};
use crate::produced::Produced;
use crate::stop::Stop;

/// A store, an instance in it, and the component it is of.
pub(crate) struct Guest<'a> {
    pub(crate) store: &'a mut Store<GuestState>,
    pub(crate) instance: &'a Instance,
    pub(crate) linked: &'a Linked,
}

/// Loads an interface's exports (which checks their types) or says that there are none.
macro_rules! exported {
    ($guest:ident.$interface:ident, $operation:expr) => {
        match &$guest.linked.$interface {
            None => return Err(Stop::Unsupported { interface: $operation.interface().to_owned() }),
            Some(indices) => match indices.load(&mut *$guest.store, $guest.instance) {
                Ok(interface) => interface,
                Err(_) => return Err(another_type(stringify!($interface))),
            },
        }
    };
}

impl Guest<'_> {
    /// Asks, waits, checks.
    pub(crate) async fn ask(&mut self, operation: &Operation) -> Result<Produced, Stop> {
        let mut checker = Checker::new(&self.store.data().limits);
        match operation {
            Operation::Describe => self.describe(&mut checker).await,
            Operation::Check => {
                let account = exported!(self.account, operation);
                let answer = account.call_check(&mut *self.store).await;
                self.answered(answer, &mut checker)?.and_then(&mut checker, Checker::identity).map(Produced::Identity)
            }
            Operation::Act { action, input, resume } => {
                let actions = exported!(self.actions, operation);
                let answer = actions.call_act(&mut *self.store, action, input, resume.as_ref()).await;
                self.answered(answer, &mut checker)?.and_then(&mut checker, Checker::outcome).map(Produced::Acted)
            }
            Operation::Pull { stream, mode, cursor, limit } => {
                let streams = exported!(self.streams, operation);
                let answer =
                    streams.call_pull(&mut *self.store, stream, pull_mode(*mode), cursor.as_ref(), *limit).await;
                let check = |checker: &mut Checker, found| checker.page(found, *limit);
                self.answered(answer, &mut checker)?.and_then(&mut checker, check).map(Produced::Page)
            }
            Operation::Push { stream, changes } => {
                let streams = exported!(self.streams, operation);
                let outgoing: Vec<_> = changes.iter().map(outgoing).collect();
                let answer = streams.call_push(&mut *self.store, stream, &outgoing).await;
                let check = |checker: &mut Checker, found| checker.pushed(found, changes.len());
                self.answered(answer, &mut checker)?.and_then(&mut checker, check).map(Produced::Pushed)
            }
            Operation::Receive { delivery: received } => {
                let webhooks = exported!(self.webhooks, operation);
                let answer = webhooks.call_receive(&mut *self.store, &delivery(received)).await;
                self.answered(answer, &mut checker)?.and_then(&mut checker, Checker::receipt).map(Produced::Receipt)
            }
            Operation::Register { url, previous } => {
                let webhooks = exported!(self.webhooks, operation);
                let previous = previous.as_ref().map(registration);
                let answer = webhooks.call_register(&mut *self.store, url, previous.as_ref()).await;
                self.answered(answer, &mut checker)?
                    .and_then(&mut checker, Checker::registration)
                    .map(Produced::Registered)
            }
            Operation::Unregister { registration: held } => {
                let webhooks = exported!(self.webhooks, operation);
                let answer = webhooks.call_unregister(&mut *self.store, &registration(held)).await;
                self.answered(answer, &mut checker)?;
                Ok(Produced::Unregistered)
            }
        }
    }

    /// `describe` is asked at upload: the moment to find out that another export has the wrong type.
    async fn describe(&mut self, checker: &mut Checker) -> Result<Produced, Stop> {
        let (linked, instance) = (self.linked, self.instance);
        macro_rules! fits {
            ($interface:ident) => {
                if linked.$interface.as_ref().is_some_and(|indices| indices.load(&mut *self.store, instance).is_err()) {
                    return Err(another_type(stringify!($interface)));
                }
            };
        }
        fits!(account);
        fits!(actions);
        fits!(streams);
        fits!(webhooks);
        let descriptor = linked.descriptor.load(&mut *self.store, instance);
        let descriptor = descriptor.map_err(|_| another_type("descriptor"))?;
        let answer = descriptor.call_describe(&mut *self.store).await;
        let text = answer.map_err(|fault| stop_for(&fault, &self.store.data().limits))?;
        checker.json("the descriptor", text).map(Produced::Described)
    }

    /// Takes a trap, a limit and the guest's own no out of the way.
    fn answered<T>(
        &self,
        answer: wasmtime::Result<Result<T, wit::Failure>>,
        checker: &mut Checker,
    ) -> Result<Answer<T>, Stop> {
        match answer {
            Err(fault) => Err(stop_for(&fault, &self.store.data().limits)),
            Ok(Err(failure)) => Err(Stop::Answered(checker.failure(failure)?)),
            Ok(Ok(answer)) => Ok(Answer(answer)),
        }
    }
}

/// What a guest returned, unchecked.
struct Answer<T>(T);

impl<T> Answer<T> {
    fn and_then<U>(
        self,
        checker: &mut Checker,
        check: impl FnOnce(&mut Checker, T) -> Result<U, Stop>,
    ) -> Result<U, Stop> {
        check(checker, self.0)
    }
}

fn another_type(interface: &str) -> Stop {
    Stop::BadOutput {
        what: format!("the export `{interface}`"),
        found: "of another type".into(),
        expected: "the contract's: build the component against the released WIT".into(),
    }
}

fn pull_mode(mode: PullMode) -> streams::PullMode {
    match mode {
        PullMode::Full => streams::PullMode::Full,
        PullMode::Incremental => streams::PullMode::Incremental,
    }
}

fn outgoing(change: &Outgoing) -> streams::Outgoing {
    streams::Outgoing {
        id: change.id.clone(),
        known: change.known.clone().map(|known| wit::External { id: known.id, version: known.version }),
        op: match &change.op {
            ChangeOp::Upsert(record) => wit::ChangeOp::Upsert(record.clone()),
            ChangeOp::Delete => wit::ChangeOp::Delete,
        },
    }
}

fn delivery(received: &Delivery) -> webhooks::Delivery {
    webhooks::Delivery {
        method: received.method.clone(),
        path: received.path.clone(),
        query: received.query.clone(),
        headers: received.headers.clone(),
        body: received.body.clone(),
    }
}

fn registration(held: &Registration) -> webhooks::Registration {
    webhooks::Registration { id: held.id.clone(), details: held.details.clone(), renew_at_ms: held.renew_at_ms }
}
