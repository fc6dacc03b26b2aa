//! Checking what was given against what a connector declared: strangers wrote both, and nothing can interrupt a check.
//!
//! Invariants: a check is done on a thread that serves nobody. Of one tenant there is one under way at a time, so whoever
//! has a hundred stands in the common line once; and nobody waits for ever.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bulkhead_manifest::{Descriptor, Manifest, TenantId};
use serde_json::Value;

use crate::Engine;
use crate::fault::EngineFault;
use crate::schema::{InvalidField, Schema, SchemaError};
use crate::turns::Turns;
use crate::versions::Known;

/// Of all tenants together.
pub(crate) const AT_ONCE: usize = 4;
/// Many times what the longest check takes.
const WAIT: Duration = Duration::from_secs(10);

/// Something that a connector declares with a schema.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Declared {
    Settings,
    /// Of the action of this name.
    Input(String),
    /// Of the stream of this name.
    Record(String),
}

/// A version's schemas, each compiled by the first check that needs it.
#[derive(Debug)]
pub(crate) struct Schemas(BTreeMap<Declared, OnceLock<Result<Schema, SchemaError>>>);

impl Schemas {
    pub(crate) fn of(manifest: &Manifest, descriptor: &Descriptor) -> Self {
        let settings = manifest.settings.iter().map(|_| Declared::Settings);
        let inputs = descriptor.actions.iter().map(|action| Declared::Input(action.name.clone()));
        let records = descriptor.streams.iter().map(|stream| Declared::Record(stream.name.clone()));
        Self(settings.chain(inputs).chain(records).map(|declared| (declared, OnceLock::new())).collect())
    }
}

impl Known {
    /// What does not fit. Compiles the schema where nobody has before.
    fn refused(&self, declared: &Declared, document: &Value) -> Result<Vec<InvalidField>, EngineFault> {
        let source = match declared {
            Declared::Settings => self.manifest.settings.as_ref(),
            Declared::Input(action) => self.action(action).map(|action| &action.input),
            Declared::Record(stream) => self.stream(stream).map(|stream| &stream.record),
        };
        let (Some(source), Some(compiled)) = (source, self.schemas.0.get(declared)) else { return Ok(Vec::new()) };
        match compiled.get_or_init(|| Schema::compile(source)) {
            Ok(schema) => Ok(schema.check(document)),
            Err(error) => Err(EngineFault::damaged("a stored schema", error)),
        }
    }
}

impl Engine {
    /// The document again, or everything in it that does not fit what its version declares; where that is nothing, all
    /// fits.
    pub(crate) async fn checked(
        &self,
        tenant: TenantId,
        known: &Arc<Known>,
        declared: Declared,
        document: Value,
    ) -> Result<Result<Value, Vec<InvalidField>>, EngineFault> {
        let known = Arc::clone(known);
        let check = move || {
            let refused = known.refused(&declared, &document)?;
            Ok(if refused.is_empty() { Ok(document) } else { Err(refused) })
        };
        self.inner.checks.run(tenant, check).await?
    }
}

/// Whose check is done when.
pub(crate) struct Checks(Turns);

impl Default for Checks {
    fn default() -> Self {
        Self(Turns::new(AT_ONCE, 1, WAIT))
    }
}

impl Checks {
    /// Does a check when it is the tenant's turn.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        tenant: TenantId,
        check: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, EngineFault> {
        let turn = self.0.take(tenant).await?;
        let done = tokio::task::spawn_blocking(move || {
            // Until it is done, also when nobody waits for it any more.
            let _turn = turn;
            check()
        });
        done.await.map_err(|error| EngineFault::damaged("a check", error))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::mpsc;
    use std::thread;

    use super::*;

    fn tenant(byte: u8) -> TenantId {
        TenantId::from_bytes([byte; 16])
    }

    fn checks(at_once: usize) -> Checks {
        Checks(Turns::new(at_once, 1, Duration::from_secs(60)))
    }

    /// A check that ends when it is told to, and the teller.
    fn endless() -> (mpsc::Sender<()>, impl FnOnce() + Send + 'static) {
        let (end, told) = mpsc::channel();
        (end, move || {
            let _ = told.recv();
        })
    }

    /// Mutation: `run`, do it here.
    #[tokio::test]
    async fn a_check_is_done_where_nobody_is_served() {
        let done_by = checks(1).run(tenant(1), || thread::current().id()).await.unwrap();
        assert_ne!(done_by, thread::current().id());
    }

    /// Mutation: host/engine/src/turns.rs, `take`, without the own turn: the noisy tenant's checks take every place.
    #[tokio::test]
    async fn who_has_many_checks_leaves_a_place_to_others() {
        let checks = checks(2);
        let mut noisy: Vec<_> =
            (0..5).map(|_| endless()).map(|(end, check)| (end, Box::pin(checks.run(tenant(1), check)))).collect();
        for (_, check) in &mut noisy {
            assert!(futures::poll!(check).is_pending());
        }
        checks.run(tenant(2), || ()).await.unwrap();
        for (end, check) in noisy {
            drop(end);
            check.await.unwrap();
        }
        checks.run(tenant(2), || ()).await.unwrap();
        assert_eq!(checks.0.tenants(), 1, "who has none any more is forgotten");
    }

    /// Mutation: host/engine/src/turns.rs, `take`, without `places`: as many at once as there are tenants.
    #[tokio::test]
    async fn so_many_checks_are_done_at_once() {
        let checks = checks(1);
        let (end, check) = endless();
        let mut first = Box::pin(checks.run(tenant(1), check));
        assert!(futures::poll!(&mut first).is_pending());
        let (started, is_started) = mpsc::channel();
        let mut second = Box::pin(checks.run(tenant(2), move || started.send(())));
        assert!(futures::poll!(&mut second).is_pending());
        assert_eq!(checks.0.free(), 0);
        assert!(is_started.try_recv().is_err());
        drop(end);
        first.await.unwrap();
        second.await.unwrap().unwrap();
    }

    /// Mutation: `run`, drop the turn with the caller: who gives up and asks again has as many under way as he likes.
    #[tokio::test]
    async fn a_check_that_nobody_waits_for_keeps_its_turn() {
        let checks = checks(4);
        let ((end, check), (begins, begun)) = (endless(), mpsc::channel());
        let mut left = Box::pin(checks.run(tenant(1), move || {
            begins.send(()).unwrap();
            check();
        }));
        assert!(futures::poll!(&mut left).is_pending());
        drop(left);
        begun.recv().unwrap();
        assert_eq!(checks.0.free(), 3);
        let (end_again, check) = endless();
        let mut again = Box::pin(checks.run(tenant(1), check));
        assert!(futures::poll!(&mut again).is_pending());
        assert_eq!(checks.0.free(), 3, "it stands in a line of the tenant's own");
        drop((end, end_again));
        again.await.unwrap();
    }

    /// Mutation: host/engine/src/turns.rs, `take`, wait without end.
    #[tokio::test]
    async fn nobody_waits_for_ever() {
        let checks = Checks(Turns::new(1, 1, Duration::ZERO));
        let (end, check) = endless();
        let mut first = Box::pin(checks.run(tenant(1), check));
        assert!(futures::poll!(&mut first).is_pending());
        let second = checks.run(tenant(1), || ()).await;
        assert!(matches!(second, Err(EngineFault::Busy { .. })));
        drop(end);
        first.await.unwrap();
    }
}
