//! Loads, compiles and runs a filter, for exactly one output.

use bulkhead_sdk::{Failure, context};
use jaq_core::data::JustLut;
use jaq_core::load::{Arena, File, Loader};
use jaq_core::native::{bome, run, v};
use jaq_core::{Compiler, Ctx, Filter, Vars};
use jaq_json::{Val, read};

use crate::{MAX_FILTER_BYTES, trouble};

type Data = JustLut<Val>;

/// Whether `filter` is one, without anything to apply it to.
pub fn check(filter: &str) -> Result<(), Failure> {
    if filter.len() > MAX_FILTER_BYTES { Err(trouble::too_long(filter.len())) } else { compile(filter).map(drop) }
}

/// The one output of `filter` on `input`, both JSON text.
pub fn one(filter: &str, input: &str) -> Result<String, Failure> {
    if filter.len() > MAX_FILTER_BYTES {
        return Err(trouble::too_long(filter.len()));
    }
    let input = read::parse_single(input.as_bytes()).map_err(|error| trouble::input(&error))?;
    let filter = compile(filter)?;
    let context = Ctx::<Data>::new(&filter.lut, Vars::new([]));
    let mut outputs = filter.id.run((context, input));
    let output = outputs.next().ok_or_else(trouble::no_output)?.map_err(trouble::failed)?;
    match outputs.next() {
        None => Ok(output.to_string()),
        Some(Ok(_)) => Err(trouble::several_outputs()),
        Some(Err(error)) => Err(trouble::failed(error)),
    }
}

fn compile(filter: &str) -> Result<Filter<Data>, Failure> {
    let definitions = jaq_core::defs().chain(jaq_std::defs()).chain(jaq_json::defs());
    let functions = jaq_core::funs().chain(jaq_std::funs()).chain(jaq_json::funs());
    // The run's own time, which a replay sees again; the library would ask the machine.
    let functions =
        functions.filter(|(name, _, _)| *name != "now").chain([run::<Data>(("now", v(0), |_| bome(Ok(now()))))]);

    let arena = Arena::default();
    let program = File { code: filter, path: () };
    let modules = Loader::new(definitions).load(&arena, program).map_err(|errors| trouble::syntax(filter, errors))?;
    let compiler = Compiler::default().with_funs(functions);
    compiler.compile(modules).map_err(|errors| trouble::undefined(filter, errors))
}

/// Seconds, as jq has it. Milliseconds since 1970 fit a float exactly for longer than there will be anyone to ask.
#[allow(clippy::cast_precision_loss)]
fn now() -> Val {
    Val::from(context::now_ms() as f64 / 1_000.0)
}
