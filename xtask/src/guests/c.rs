//! examples/c: bindings → objects → a core module → `bulkhead build` encodes and packs it.

use std::process::Command;

use super::Outcome;
use crate::problem::Problem;
use crate::process;
use crate::setup::c::Tools;
use crate::workspace::Workspace;

const WORLD: &str = "actions-only";

pub(super) fn build(workspace: &Workspace) -> Result<Outcome, Problem> {
    let directory = workspace.root.join("examples/c");
    let Some(tools) = Tools::find() else {
        return Ok(Outcome::LeftOut(Tools::missing()));
    };
    if super::is_fresh(workspace, &workspace.connector("echo-c"), &directory)? {
        return Ok(Outcome::Fresh);
    }
    let work = workspace.target.join("c");
    let bindings = work.join("bindings");
    let mut generate = workspace.cargo(&["run", "--quiet", "--package", "xtask", "--features", "c-bindings"]);
    generate.args(["--bin", "c-bindings", "--"]).arg(workspace.wit()).arg(WORLD).arg(&bindings);
    process::run(&mut generate)?;

    let objects = [
        (directory.join("echo.c"), work.join("echo.o")),
        (bindings.join("actions_only.c"), work.join("actions_only.o")),
    ];
    for (source, object) in &objects {
        let mut compile = Command::new(&tools.clang);
        compile.args(["--target=wasm32-wasi", "-O2", "-Wall", "-Wextra", "-c"]);
        compile.arg("-isystem").arg(&tools.headers).arg("-I").arg(&bindings);
        process::run(compile.arg(source).arg("-o").arg(object))?;
    }
    let module = work.join("echo.wasm");
    let mut link = Command::new(&tools.linker);
    // A reactor: it has exports instead of a `main`.
    link.args(["--no-entry", "--export-dynamic", "--gc-sections", "--strip-debug"])
        .arg(tools.libraries.join("crt1-reactor.o"));
    link.args(objects.iter().map(|(_, object)| object)).arg(bindings.join("actions_only_component_type.o"));
    process::run(link.arg("-L").arg(&tools.libraries).arg("-lc").arg("-o").arg(&module))?;
    super::package(workspace, &directory, &module)?;
    Ok(Outcome::Built)
}
