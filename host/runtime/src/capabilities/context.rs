//! `context`: what a run may know about where it runs.

use rand_chacha::rand_core::Rng;

use crate::bindings::bulkhead::connector::context::{External, Host, Json};
use crate::guest::{GuestFault, GuestState, storable};
use crate::stop::TrapCode;

const MAX_RANDOM: u32 = 4_096;

impl Host for GuestState {
    fn settings(&mut self) -> wasmtime::Result<Json> {
        self.called();
        Ok(self.facts.settings.clone())
    }

    fn environment(&mut self) -> wasmtime::Result<Json> {
        self.called();
        Ok(self.facts.environment.clone())
    }

    fn account(&mut self) -> wasmtime::Result<Option<Json>> {
        self.called();
        Ok(self.facts.account.clone())
    }

    fn webhook_url(&mut self) -> wasmtime::Result<Option<String>> {
        self.called();
        Ok(self.facts.webhook_url.clone())
    }

    async fn resolve(&mut self, name: String, id: String) -> wasmtime::Result<Option<External>> {
        self.called();
        if !storable(&name) || !storable(&id) {
            return Ok(None);
        }
        let found = self.look_up(|ports| async move { ports.resolve(&name, &id).await }).await?;
        Ok(found.map(|external| External { id: external.id, version: external.version }))
    }

    fn now_ms(&mut self) -> wasmtime::Result<u64> {
        self.called();
        Ok(self.outside.clock.now_ms())
    }

    fn random(&mut self, len: u32) -> wasmtime::Result<Vec<u8>> {
        self.called();
        self.random_bytes(u64::from(len), u64::from(MAX_RANDOM))
    }
}

impl GuestState {
    /// The next bytes of the run's seeded stream. Asking for more than `max` at once ends the run: fewer bytes than asked
    /// for would be a trap of another kind.
    pub(crate) fn random_bytes(&mut self, len: u64, max: u64) -> wasmtime::Result<Vec<u8>> {
        if len > max {
            let message = format!("asked for {len} random bytes at once; at most {max} are given");
            return Err(wasmtime::Error::new(GuestFault { code: TrapCode::InvalidValue, message }));
        }
        let mut bytes = vec![0; usize::try_from(len)?];
        self.random.fill_bytes(&mut bytes);
        Ok(bytes)
    }
}
