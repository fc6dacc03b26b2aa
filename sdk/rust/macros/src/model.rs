//! What one `#[connector]` block declares. Built by `read`, complete and free of contradictions; printed by `write`.

use proc_macro2::Ident;
use syn::{ItemImpl, Type};

pub(crate) struct Connector {
    /// The block without our attributes and without `#[event]` aliases.
    pub(crate) block: ItemImpl,
    pub(crate) check: Option<Ident>,
    pub(crate) actions: Vec<Action>,
    pub(crate) streams: Vec<Stream>,
    pub(crate) webhook: Webhook,
    pub(crate) events: Vec<Event>,
}

/// What a thing is called in `describe`.
pub(crate) struct Label {
    pub(crate) name: String,
    pub(crate) title: String,
}

pub(crate) struct Action {
    pub(crate) label: Label,
    pub(crate) description: String,
    pub(crate) read_only: bool,
    pub(crate) function: Ident,
    pub(crate) takes: Takes,
}

/// The arguments of an action's function.
#[derive(Clone, Copy)]
pub(crate) enum Takes {
    Nothing,
    Input,
    InputAndResume,
}

pub(crate) struct Stream {
    pub(crate) label: Label,
    pub(crate) pull: Option<Ident>,
    pub(crate) push: Option<Push>,
}

pub(crate) struct Push {
    pub(crate) function: Ident,
    /// Takes all changes at once.
    pub(crate) batch: bool,
}

#[derive(Default)]
pub(crate) struct Webhook {
    pub(crate) receive: Option<Ident>,
    pub(crate) register: Option<Ident>,
    pub(crate) unregister: Option<Ident>,
}

impl Webhook {
    pub(crate) fn is_declared(&self) -> bool {
        self.receive.is_some() || self.register.is_some() || self.unregister.is_some()
    }
}

pub(crate) struct Event {
    pub(crate) label: Label,
    pub(crate) data: Type,
}
