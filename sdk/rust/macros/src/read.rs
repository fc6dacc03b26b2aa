//! From an `impl` block to the model. Everything that can be said about a mistake before types are known is said
//! here, at the place where it stands.

use proc_macro2::{Ident, Span};
use syn::parse::{Parse, ParseStream};
use syn::{
    Attribute, Error, Expr, ExprLit, FnArg, ImplItem, ImplItemFn, ImplItemType, ItemImpl, Lit, LitStr, Meta, Result,
    Token, Type,
};

use crate::model::{Action, Connector, Event, Label, Push, Stream, Takes, Webhook};

pub(crate) fn connector(mut block: ItemImpl) -> Result<Connector> {
    if let Some((_, of, _)) = &block.trait_ {
        return Err(Error::new_spanned(of, "`#[connector]` stands on an `impl` of a type, not of a trait"));
    }
    if !block.generics.params.is_empty() {
        return Err(Error::new_spanned(&block.generics, "a connector has no type parameters"));
    }
    let items = std::mem::take(&mut block.items);
    let mut connector = Connector {
        block,
        check: None,
        actions: Vec::new(),
        streams: Vec::new(),
        webhook: Webhook::default(),
        events: Vec::new(),
    };
    for item in items {
        match item {
            ImplItem::Fn(mut item) => {
                function(&mut connector, &mut item)?;
                connector.block.items.push(ImplItem::Fn(item));
            }
            ImplItem::Type(item) => alias(&mut connector, item)?,
            other => connector.block.items.push(other),
        }
    }
    Ok(connector)
}

const OURS: [&str; 7] = ["action", "check", "pull", "push", "receive", "register", "unregister"];

fn function(connector: &mut Connector, item: &mut ImplItemFn) -> Result<()> {
    let Some(attribute) = take_ours(&mut item.attrs, &OURS)? else {
        return Ok(());
    };
    if let Some(parameter) = item.sig.generics.params.first() {
        return Err(Error::new_spanned(parameter, "a connector's function has no type parameters"));
    }
    if let Some(FnArg::Receiver(receiver)) = item.sig.inputs.first() {
        return Err(Error::new_spanned(receiver, "a connector has no `self`: what must last goes into `state`"));
    }
    if let Some(keyword) = &item.sig.asyncness {
        return Err(Error::new_spanned(
            keyword,
            "calls look synchronous here; for several requests at once use `http::send_all`",
        ));
    }
    let name = item.sig.ident.clone();
    match attribute.path().get_ident().map(Ident::to_string).unwrap_or_default().as_str() {
        "action" => connector.actions.push(action(connector, &attribute, item)?),
        "pull" => {
            let words = Words::of(&attribute)?;
            let stream = stream(connector, &words)?;
            once(&mut stream.pull, name, "pull")?;
        }
        "push" => {
            let words = Words::of(&attribute)?;
            let batch = words.batch;
            let stream = stream(connector, &words)?;
            let span = name.span();
            if stream.push.replace(Push { function: name, batch }).is_some() {
                return Err(Error::new(span, "this stream has a `push` already"));
            }
        }
        "check" => once(&mut connector.check, name, "check")?,
        "receive" => once(&mut connector.webhook.receive, name, "receive")?,
        "register" => once(&mut connector.webhook.register, name, "register")?,
        "unregister" => once(&mut connector.webhook.unregister, name, "unregister")?,
        _ => {}
    }
    Ok(())
}

fn once(place: &mut Option<Ident>, function: Ident, what: &str) -> Result<()> {
    let span = function.span();
    match place.replace(function) {
        None => Ok(()),
        Some(_) => Err(Error::new(span, format!("there is a `{what}` already"))),
    }
}

fn action(connector: &Connector, attribute: &Attribute, item: &ImplItemFn) -> Result<Action> {
    let words = Words::of(attribute)?;
    words.refuse_batch()?;
    let name = words.name.clone().unwrap_or_else(|| LitStr::new(&item.sig.ident.to_string(), item.sig.ident.span()));
    let label = label(&name, words.title.as_ref(), None)?;
    if connector.actions.iter().any(|action| action.label.name == label.name) {
        return Err(Error::new(name.span(), format!("there is an action \"{}\" already", label.name)));
    }
    let takes = match item.sig.inputs.iter().collect::<Vec<_>>().as_slice() {
        [] => Takes::Nothing,
        [_] => Takes::Input,
        [_, resume] if is_option(resume) => Takes::InputAndResume,
        _ => {
            let message = "an action takes one input: put what it needs into one struct. \
                           (A second argument, `resume: Option<S>`, is for actions that answer `later`)";
            return Err(Error::new_spanned(&item.sig.inputs, message));
        }
    };
    Ok(Action {
        label,
        description: documentation(&item.attrs),
        read_only: words.read_only,
        function: item.sig.ident.clone(),
        takes,
    })
}

/// Whether the argument's type is written as an `Option`.
fn is_option(argument: &FnArg) -> bool {
    let FnArg::Typed(argument) = argument else { return false };
    let Type::Path(path) = &*argument.ty else { return false };
    path.path.segments.last().is_some_and(|last| last.ident == "Option")
}

/// The stream of that name, made when it is met for the first time.
fn stream<'a>(connector: &'a mut Connector, words: &Words) -> Result<&'a mut Stream> {
    words.refuse_read_only()?;
    let Some(name) = &words.name else {
        return Err(Error::new(words.span, "name the stream: `(\"customers\")`"));
    };
    let label = label(name, words.title.as_ref(), None)?;
    let at = connector.streams.iter().position(|stream| stream.label.name == label.name).unwrap_or_else(|| {
        connector.streams.push(Stream {
            label: Label { name: label.name, title: label.title.clone() },
            pull: None,
            push: None,
        });
        connector.streams.len() - 1
    });
    let Some(stream) = connector.streams.get_mut(at) else {
        return Err(Error::new(words.span, "this stream is not known"));
    };
    if words.title.is_some() {
        stream.label.title = label.title;
    }
    Ok(stream)
}

/// `#[event("name")] type Name = Data;`
fn alias(connector: &mut Connector, mut item: ImplItemType) -> Result<()> {
    let Some(attribute) = take_ours(&mut item.attrs, &["event"])? else {
        return Err(Error::new_spanned(
            item,
            "a `type` here declares an event: `#[event(\"name\")] type Name = Data;`",
        ));
    };
    let words = Words::of(&attribute)?;
    words.refuse_batch()?;
    words.refuse_read_only()?;
    let Some(name) = &words.name else {
        return Err(Error::new(words.span, "name the event: `#[event(\"customer.created\")]`"));
    };
    let first_line = documentation(&item.attrs).lines().next().map(|line| line.trim_end_matches('.').to_owned());
    let label = label(name, words.title.as_ref(), first_line.filter(|line| !line.is_empty()))?;
    if connector.events.iter().any(|event| event.label.name == label.name) {
        return Err(Error::new(name.span(), format!("there is an event \"{}\" already", label.name)));
    }
    connector.events.push(Event { label, data: item.ty });
    Ok(())
}

/// Removes our one attribute from the list.
fn take_ours(attributes: &mut Vec<Attribute>, ours: &[&str]) -> Result<Option<Attribute>> {
    let (mut taken, kept): (Vec<_>, Vec<_>) = std::mem::take(attributes)
        .into_iter()
        .partition(|attribute| attribute.path().get_ident().is_some_and(|name| ours.iter().any(|our| name == our)));
    *attributes = kept;
    match (taken.pop(), taken.pop()) {
        (Some(last), Some(_)) => Err(Error::new_spanned(last, "one of these is enough")),
        (one, _) => Ok(one),
    }
}

/// Names as the host accepts them: `[a-z][a-z0-9_.-]{0,63}`.
fn label(name: &LitStr, title: Option<&LitStr>, otherwise: Option<String>) -> Result<Label> {
    let text = name.value();
    let starts = text.starts_with(|first: char| first.is_ascii_lowercase());
    let goes_on = text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | '.' | '-'));
    if !starts || !goes_on || text.len() > 64 {
        let message = "a name starts with a small letter and has small letters, digits, `_`, `.` and `-`, at most 64";
        return Err(Error::new(name.span(), message));
    }
    let title = title.map(LitStr::value).or(otherwise).unwrap_or_else(|| in_words(&text));
    Ok(Label { name: text, title })
}

/// `create_invoice` → `Create invoice`.
fn in_words(name: &str) -> String {
    let spaced = name.replace(['_', '.', '-'], " ");
    let mut letters = spaced.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

fn documentation(attributes: &[Attribute]) -> String {
    let lines = attributes.iter().filter_map(|attribute| match &attribute.meta {
        Meta::NameValue(pair) if pair.path.is_ident("doc") => match &pair.value {
            Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) => Some(text.value()),
            _ => None,
        },
        _ => None,
    });
    let lines: Vec<String> = lines.map(|line| line.strip_prefix(' ').unwrap_or(&line).trim_end().to_owned()).collect();
    lines.join("\n").trim().to_owned()
}

/// What stands in the parentheses of one of our attributes.
struct Words {
    span: Span,
    name: Option<LitStr>,
    title: Option<LitStr>,
    read_only: bool,
    batch: bool,
}

impl Words {
    fn of(attribute: &Attribute) -> Result<Words> {
        let span = attribute.path().get_ident().map_or_else(Span::call_site, Ident::span);
        let mut words = match &attribute.meta {
            Meta::Path(_) => Words::empty(span),
            Meta::List(list) => syn::parse2(list.tokens.clone())?,
            Meta::NameValue(pair) => return Err(Error::new_spanned(pair, "write it with parentheses")),
        };
        words.span = span;
        Ok(words)
    }

    fn empty(span: Span) -> Words {
        Words { span, name: None, title: None, read_only: false, batch: false }
    }

    fn refuse_batch(&self) -> Result<()> {
        if self.batch { Err(Error::new(self.span, "`batch` is for `#[push]`")) } else { Ok(()) }
    }

    fn refuse_read_only(&self) -> Result<()> {
        if self.read_only { Err(Error::new(self.span, "`read_only` is for `#[action]`")) } else { Ok(()) }
    }
}

impl Parse for Words {
    fn parse(input: ParseStream<'_>) -> Result<Words> {
        let mut words = Words::empty(input.span());
        while !input.is_empty() {
            if input.peek(LitStr) {
                words.name = Some(input.parse()?);
            } else {
                let word: Ident = input.parse()?;
                match word.to_string().as_str() {
                    "read_only" => words.read_only = true,
                    "batch" => words.batch = true,
                    "name" => {
                        input.parse::<Token![=]>()?;
                        words.name = Some(input.parse()?);
                    }
                    "title" => {
                        input.parse::<Token![=]>()?;
                        words.title = Some(input.parse()?);
                    }
                    other => {
                        let known = "known here: a name in quotes, `name = \"…\"`, `title = \"…\"`, `read_only` (actions), `batch` (push)";
                        let message =
                            meant(other).map_or_else(|| known.to_owned(), |word| format!("did you mean `{word}`?"));
                        return Err(Error::new(word.span(), message));
                    }
                }
            }
            if !input.is_empty() {
                input.parse::<Token![,]>()?;
            }
        }
        Ok(words)
    }
}

/// The word of ours that another is another spelling of.
fn meant(word: &str) -> Option<&'static str> {
    let plain = |word: &str| word.to_lowercase().replace('_', "");
    ["read_only", "batch", "name", "title"].into_iter().find(|known| plain(known) == plain(word))
}

#[cfg(test)]
mod tests {
    use quote::quote;

    use super::*;

    fn refusal(block: proc_macro2::TokenStream) -> String {
        let read = syn::parse2::<ItemImpl>(block).and_then(connector);
        read.err().map_or_else(|| "nothing was refused".to_owned(), |error| error.to_string())
    }

    #[test]
    fn two_inputs_are_told_to_become_one() {
        let said = refusal(quote! { impl C { #[action] fn pay(to: String, amount: u32) {} } });
        assert!(said.starts_with("an action takes one input"), "{said}");
        let fine = refusal(quote! { impl C { #[action] fn pay(to: String, resume: Option<u32>) {} } });
        assert_eq!(fine, "nothing was refused");
    }

    #[test]
    fn another_spelling_is_recognised() {
        let said = refusal(quote! { impl C { #[action(readonly)] fn pay() {} } });
        assert_eq!(said, "did you mean `read_only`?");
    }
}
