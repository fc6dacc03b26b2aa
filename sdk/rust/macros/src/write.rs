//! From the model to Rust. All logic stands in `bulkhead_sdk::__private`; what is written here only names functions.

use proc_macro2::{Ident, TokenStream};
use quote::{format_ident, quote, quote_spanned};

use crate::model::{Action, Connector, Event, Stream, Takes};

pub(crate) fn connector(connector: &Connector) -> TokenStream {
    let block = &connector.block;
    let of = &connector.block.self_ty;
    let describe = describe(connector);
    let check = connector.check.as_ref().map(check);
    let act = (!connector.actions.is_empty()).then(|| act(&connector.actions));
    let pull = connector.streams.iter().any(|stream| stream.pull.is_some()).then(|| pull(&connector.streams));
    let push = connector.streams.iter().any(|stream| stream.push.is_some()).then(|| push(&connector.streams));
    let webhook = webhook(connector);
    let exports = exports(connector);
    quote! {
        #block

        #[automatically_derived]
        impl ::bulkhead_sdk::Connector for #of {
            #describe
            #check
            #act
            #pull
            #push
            #webhook
        }

        #exports
    }
}

fn describe(connector: &Connector) -> TokenStream {
    let actions = connector.actions.iter().map(describe_action);
    let streams = connector.streams.iter().map(describe_stream);
    let events = connector.events.iter().map(describe_event);
    quote! {
        fn describe() -> ::bulkhead_sdk::descriptor::Descriptor {
            ::bulkhead_sdk::descriptor::Descriptor {
                actions: ::std::vec![#(#actions),*],
                streams: ::std::vec![#(#streams),*],
                events: ::std::vec![#(#events),*],
            }
        }
    }
}

fn describe_action(action: &Action) -> TokenStream {
    let Action { description, read_only, function, .. } = action;
    let (name, title) = (&action.label.name, &action.label.title);
    let describe = match action.takes {
        Takes::Nothing => format_ident!("describe_action_without_input"),
        Takes::Input => format_ident!("describe_action"),
        Takes::InputAndResume => format_ident!("describe_resumable_action"),
    };
    quote_spanned! { function.span() =>
        ::bulkhead_sdk::__private::#describe(#name, #title, #description, #read_only, Self::#function)
    }
}

fn describe_stream(stream: &Stream) -> TokenStream {
    let (name, title) = (&stream.label.name, &stream.label.title);
    match (&stream.pull, &stream.push) {
        (Some(pull), None) => quote_spanned! { pull.span() =>
            ::bulkhead_sdk::__private::describe_pulled_stream(#name, #title, Self::#pull)
        },
        (None, Some(push)) => {
            let (function, describe) = (&push.function, describe_push(push.batch, false));
            quote_spanned! { function.span() => ::bulkhead_sdk::__private::#describe(#name, #title, Self::#function) }
        }
        (Some(pull), Some(push)) => {
            let (function, describe) = (&push.function, describe_push(push.batch, true));
            quote_spanned! { function.span() =>
                ::bulkhead_sdk::__private::#describe(#name, #title, Self::#pull, Self::#function)
            }
        }
        (None, None) => TokenStream::new(),
    }
}

fn describe_push(batch: bool, pulled_too: bool) -> Ident {
    match (batch, pulled_too) {
        (false, false) => format_ident!("describe_pushed_stream"),
        (true, false) => format_ident!("describe_batch_pushed_stream"),
        (false, true) => format_ident!("describe_stream"),
        (true, true) => format_ident!("describe_batch_stream"),
    }
}

fn describe_event(event: &Event) -> TokenStream {
    let (name, title, data) = (&event.label.name, &event.label.title, &event.data);
    quote! { ::bulkhead_sdk::__private::describe_event::<#data>(#name, #title) }
}

fn check(function: &Ident) -> TokenStream {
    quote_spanned! { function.span() =>
        fn check() -> ::std::result::Result<::bulkhead_sdk::Identity, ::bulkhead_sdk::Failure> {
            ::bulkhead_sdk::__private::answered(Self::#function())
        }
    }
}

fn act(actions: &[Action]) -> TokenStream {
    let arms = actions.iter().map(|action| {
        let (name, function) = (&action.label.name, &action.function);
        let (call, arguments) = match action.takes {
            Takes::Nothing => (format_ident!("act_without_input"), quote! { resume }),
            Takes::Input => (format_ident!("act"), quote! { input, resume }),
            Takes::InputAndResume => (format_ident!("act_or_resume"), quote! { input, resume }),
        };
        quote_spanned! { function.span() => #name => ::bulkhead_sdk::__private::#call(#arguments, Self::#function) }
    });
    quote! {
        fn act(
            action: &str,
            input: &str,
            resume: ::std::option::Option<&str>,
        ) -> ::std::result::Result<::bulkhead_sdk::Outcome<::std::string::String>, ::bulkhead_sdk::Failure> {
            match action {
                #(#arms,)*
                _ => ::std::result::Result::Err(::bulkhead_sdk::__private::unknown("action", action)),
            }
        }
    }
}

fn pull(streams: &[Stream]) -> TokenStream {
    let arms = streams.iter().filter_map(|stream| {
        let (name, function) = (&stream.label.name, stream.pull.as_ref()?);
        Some(quote_spanned! { function.span() => #name => ::bulkhead_sdk::__private::pull(request, Self::#function) })
    });
    quote! {
        fn pull(
            stream: &str,
            request: ::bulkhead_sdk::Pull<::std::string::String>,
        ) -> ::std::result::Result<
            ::bulkhead_sdk::Page<::std::string::String, ::std::string::String>,
            ::bulkhead_sdk::Failure,
        > {
            match stream {
                #(#arms,)*
                _ => ::std::result::Result::Err(::bulkhead_sdk::__private::unknown("stream to pull", stream)),
            }
        }
    }
}

fn push(streams: &[Stream]) -> TokenStream {
    let arms = streams.iter().filter_map(|stream| {
        let (name, push) = (&stream.label.name, stream.push.as_ref()?);
        let function = &push.function;
        let call = if push.batch { format_ident!("push_batch") } else { format_ident!("push_each") };
        Some(quote_spanned! { function.span() => #name => ::bulkhead_sdk::__private::#call(changes, Self::#function) })
    });
    quote! {
        fn push(
            stream: &str,
            changes: ::std::vec::Vec<::bulkhead_sdk::Outgoing<::std::string::String>>,
        ) -> ::std::result::Result<::std::vec::Vec<::bulkhead_sdk::Pushed>, ::bulkhead_sdk::Failure> {
            match stream {
                #(#arms,)*
                _ => ::std::result::Result::Err(::bulkhead_sdk::__private::unknown("stream to push to", stream)),
            }
        }
    }
}

fn webhook(connector: &Connector) -> TokenStream {
    let receive = connector.webhook.receive.as_ref().map(|function| {
        quote_spanned! { function.span() =>
            fn receive(
                delivery: ::bulkhead_sdk::Delivery,
            ) -> ::std::result::Result<::bulkhead_sdk::Receipt, ::bulkhead_sdk::Failure> {
                ::bulkhead_sdk::__private::answered(Self::#function(delivery))
            }
        }
    });
    let register = connector.webhook.register.as_ref().map(|function| {
        quote_spanned! { function.span() =>
            fn register(
                url: ::std::string::String,
                previous: ::std::option::Option<::bulkhead_sdk::Registration>,
            ) -> ::std::result::Result<::bulkhead_sdk::Registration, ::bulkhead_sdk::Failure> {
                ::bulkhead_sdk::__private::answered(Self::#function(url, previous))
            }
        }
    });
    let unregister = connector.webhook.unregister.as_ref().map(|function| {
        quote_spanned! { function.span() =>
            fn unregister(
                registration: ::bulkhead_sdk::Registration,
            ) -> ::std::result::Result<(), ::bulkhead_sdk::Failure> {
                ::bulkhead_sdk::__private::answered(Self::#function(registration))
            }
        }
    });
    quote! { #receive #register #unregister }
}

/// One export macro of the SDK for each interface that has something behind it. Each brings its own description of
/// the world, which the component encoder merges, so the component exports these and nothing else.
fn exports(connector: &Connector) -> TokenStream {
    let of = &connector.block.self_ty;
    let declared = [
        ("descriptor", true),
        ("account", connector.check.is_some()),
        ("actions", !connector.actions.is_empty()),
        ("streams", !connector.streams.is_empty()),
        ("webhooks", connector.webhook.is_declared()),
    ];
    let macros = declared.into_iter().filter(|(_, declared)| *declared).map(|(interface, _)| {
        let module = format_ident!("{interface}");
        let export = format_ident!("export_{interface}");
        quote! { ::bulkhead_sdk::bindings::#module::#export!(Exported with_types_in ::bulkhead_sdk::bindings::#module); }
    });
    quote! {
        // Elsewhere nobody may call it: a connector without tests is no dead code.
        #[cfg(not(target_family = "wasm"))]
        const _: fn() -> ::bulkhead_sdk::descriptor::Descriptor = <#of as ::bulkhead_sdk::Connector>::describe;

        #[cfg(target_family = "wasm")]
        const _: () = {
            type Exported = ::bulkhead_sdk::__private::Exported<#of>;
            #(#macros)*
        };
    }
}
