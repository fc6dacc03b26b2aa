//! Generated from the contract: the imports once, and each exportable interface as a world of its own.
//!
//! A world per export is what keeps a component honest. Its export macro brings the functions *and* the description
//! of that one world; `#[connector]` calls only the macros it needs, and the component encoder merges what it finds.
//! Imports that nothing calls are dropped by the encoder.

#![allow(clippy::all, clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, unreachable_pub)]

pub mod host {
    wit_bindgen::generate!({ path: "../../wit", world: "host", generate_unused_types: true });
}

pub mod descriptor {
    wit_bindgen::generate!({
        inline: "package bulkhead:rust-sdk; world rust-descriptor { export bulkhead:connector/descriptor@0.1.0; }",
        path: "../../wit",
        with: {
            "bulkhead:connector/types@0.1.0": crate::bindings::host::bulkhead::connector::types,
            "bulkhead:connector/descriptor@0.1.0": generate,
        },
        pub_export_macro: true,
        export_macro_name: "export_descriptor",
        default_bindings_module: "bulkhead_sdk::bindings::descriptor",
    });
}

pub mod account {
    wit_bindgen::generate!({
        inline: "package bulkhead:rust-sdk; world rust-account { export bulkhead:connector/account@0.1.0; }",
        path: "../../wit",
        with: {
            "bulkhead:connector/types@0.1.0": crate::bindings::host::bulkhead::connector::types,
            "bulkhead:connector/account@0.1.0": generate,
        },
        pub_export_macro: true,
        export_macro_name: "export_account",
        default_bindings_module: "bulkhead_sdk::bindings::account",
    });
}

pub mod actions {
    wit_bindgen::generate!({
        inline: "package bulkhead:rust-sdk; world rust-actions { export bulkhead:connector/actions@0.1.0; }",
        path: "../../wit",
        with: {
            "bulkhead:connector/types@0.1.0": crate::bindings::host::bulkhead::connector::types,
            "bulkhead:connector/actions@0.1.0": generate,
        },
        pub_export_macro: true,
        export_macro_name: "export_actions",
        default_bindings_module: "bulkhead_sdk::bindings::actions",
    });
}

pub mod streams {
    wit_bindgen::generate!({
        inline: "package bulkhead:rust-sdk; world rust-streams { export bulkhead:connector/streams@0.1.0; }",
        path: "../../wit",
        with: {
            "bulkhead:connector/types@0.1.0": crate::bindings::host::bulkhead::connector::types,
            "bulkhead:connector/streams@0.1.0": generate,
        },
        pub_export_macro: true,
        export_macro_name: "export_streams",
        default_bindings_module: "bulkhead_sdk::bindings::streams",
    });
}

pub mod webhooks {
    wit_bindgen::generate!({
        inline: "package bulkhead:rust-sdk; world rust-webhooks { export bulkhead:connector/webhooks@0.1.0; }",
        path: "../../wit",
        with: {
            "bulkhead:connector/types@0.1.0": crate::bindings::host::bulkhead::connector::types,
            "bulkhead:connector/webhooks@0.1.0": generate,
        },
        pub_export_macro: true,
        export_macro_name: "export_webhooks",
        default_bindings_module: "bulkhead_sdk::bindings::webhooks",
    });
}
