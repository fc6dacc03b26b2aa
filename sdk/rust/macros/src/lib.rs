//! The `#[connector]` attribute of `bulkhead-sdk`.
//!
//! It reads one `impl` block ([`read`]) into a plain [`model`], and writes three things from it ([`write`]): the
//! block without our attributes, an implementation of `bulkhead_sdk::Connector`, and on WebAssembly the exports of
//! exactly those interfaces that the block has functions for.
//!
//! To add an attribute: one arm in `read::function` (or `read::alias`), one field in the model, its place in `write`,
//! and its name in [`alone`].

mod model;
mod read;
mod write;

use proc_macro::TokenStream;

/// Makes a connector of an `impl` block: see the documentation of `bulkhead_sdk`.
///
/// Inside the block it knows `#[action]`, `#[check]`, `#[pull("stream")]`, `#[push("stream")]`, `#[receive]`,
/// `#[register]`, `#[unregister]` and `#[event("name")] type Name = Data;`. Functions without any of them stay as
/// they are.
#[proc_macro_attribute]
pub fn connector(attribute: TokenStream, item: TokenStream) -> TokenStream {
    let attribute = proc_macro2::TokenStream::from(attribute);
    let written = syn::parse::<syn::ItemImpl>(item)
        .and_then(|block| {
            if attribute.is_empty() {
                read::connector(block)
            } else {
                Err(syn::Error::new_spanned(attribute, "`#[connector]` takes no arguments"))
            }
        })
        .map(|connector| write::connector(&connector));
    written.unwrap_or_else(syn::Error::into_compile_error).into()
}

/// Inside a `#[connector]` block these never get here: it takes them away. Whoever reaches them has left it out.
macro_rules! alone {
    ($($name:ident)*) => {$(
        #[doc(hidden)]
        #[proc_macro_attribute]
        pub fn $name(_: TokenStream, _: TokenStream) -> TokenStream {
            let message = concat!("`#[", stringify!($name), "]` stands in an `impl` block with `#[connector]` above it");
            syn::Error::new(proc_macro2::Span::call_site(), message).into_compile_error().into()
        }
    )*};
}

alone! { action check event pull push receive register unregister }
