//! A Rust standard library for `wasm32-wasip2`, by the first of three ways that works:
//!
//! 1. `installed`: the toolchain has the target.
//! 2. `rustup`: `rustup target add`, within a time limit.
//! 3. `distribution`: Debian's compiler and its library's source; cargo builds the library (`build-std`) and links
//!    with the linkers of the toolchain in use. An ordinary machine never comes here.
//!
//! The way is remembered in `target/guest-toolchain` as JSON: `{"way", "path": [before PATH], "env": {…}}`.
//! `bulkhead build` applies it to the cargo that it starts, so nobody else has to know.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use crate::distribution;
use crate::problem::Problem;
use crate::process::{self, say};
use crate::workspace::Workspace;

const TARGET: &str = "wasm32-wasip2";
/// What `bulkhead build` may be told to build for instead, which its tests do.
const BARE_TARGET: &str = "wasm32-unknown-unknown";
/// Downloading the target takes seconds; a machine without a way out must not wait for minutes.
const RUSTUP_LIMIT: Duration = Duration::from_secs(120);
const DISTRIBUTION_RUSTC: &str = "/usr/bin/rustc";
const DISTRIBUTION_LIBC: &str = "/usr/lib/wasm32-wasi";
const DISTRIBUTION_PACKAGES: [&str; 3] = ["rustc-web", "rust-web-src", "wasi-libc"];

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    Installed,
    Rustup,
    Distribution,
}

impl Way {
    pub(crate) fn parse(name: &str) -> Result<Way, Problem> {
        [Way::Installed, Way::Rustup, Way::Distribution].into_iter().find(|way| way.name() == name).ok_or_else(|| {
            Problem::Usage(format!("`{name}` is no way to get the target: installed, rustup or distribution"))
        })
    }

    /// `BULKHEAD_GUEST_TOOLCHAIN` forces a way, so that a CI job can walk the third now and then.
    pub(crate) fn from_environment() -> Result<Option<Way>, Problem> {
        env::var("BULKHEAD_GUEST_TOOLCHAIN").ok().map(|name| Way::parse(&name)).transpose()
    }

    fn name(self) -> &'static str {
        match self {
            Way::Installed => "installed",
            Way::Rustup => "rustup",
            Way::Distribution => "distribution",
        }
    }
}

/// What a build of a guest adds to its environment.
struct Toolchain {
    way: Way,
    path: Vec<PathBuf>,
    variables: BTreeMap<String, String>,
}

impl Toolchain {
    fn plain(way: Way) -> Toolchain {
        Toolchain { way, path: Vec::new(), variables: BTreeMap::new() }
    }

    fn write(&self, file: &Path) -> Result<(), Problem> {
        let path: Vec<String> = self.path.iter().map(|part| part.display().to_string()).collect();
        let document = json!({ "way": self.way.name(), "path": path, "env": self.variables });
        if let Some(directory) = file.parent() {
            fs::create_dir_all(directory).map_err(Problem::file(directory))?;
        }
        fs::write(file, format!("{document:#}\n")).map_err(Problem::file(file))
    }
}

/// Finds or makes a way, remembers it and says in one line which it is.
pub(crate) fn prepare(workspace: &Workspace, forced: Option<Way>) -> Result<(), Problem> {
    let sysroot = sysroot()?;
    let file = workspace.target.join("guest-toolchain");
    let toolchain = match forced {
        Some(Way::Installed) if !has_target(&sysroot, TARGET) => {
            return Err(Problem::Missing {
                what: format!("the target {TARGET} in {}", sysroot.display()),
                help: format!("rustup target add {TARGET}"),
            });
        }
        Some(Way::Installed) => Toolchain::plain(Way::Installed),
        Some(Way::Rustup) => add_target()?,
        Some(Way::Distribution) => distribution(&sysroot)?,
        None if has_target(&sysroot, TARGET) => Toolchain::plain(Way::Installed),
        // Asking rustup again on every build would cost its time limit on every build.
        None if remembered(&file) == Some(Way::Distribution) => distribution(&sysroot)?,
        None => match add_target() {
            Ok(toolchain) => toolchain,
            Err(refusal) => {
                say(&format!("rustup did not give the target ({refusal})"));
                distribution(&sysroot)?
            }
        },
    };
    toolchain.write(&file)?;
    say(&match toolchain.way {
        Way::Installed => format!("Rust guests: the toolchain has {TARGET}"),
        Way::Rustup => format!("Rust guests: {TARGET} was added by rustup"),
        Way::Distribution => {
            format!("Rust guests: {DISTRIBUTION_RUSTC} and the distribution's library source")
        }
    });
    Ok(())
}

/// What the tests need besides.
pub(crate) fn prepare_bare(workspace: &Workspace) -> Result<(), Problem> {
    let is_there = has_target(&sysroot()?, BARE_TARGET);
    // That way builds the library along with a guest, for any target.
    if is_there || remembered(&workspace.target.join("guest-toolchain")) == Some(Way::Distribution) {
        return Ok(());
    }
    add(BARE_TARGET).map_err(|refusal| Problem::Missing {
        what: format!("the target {BARE_TARGET} ({refusal})"),
        help: format!("rustup target add {BARE_TARGET}"),
    })
}

fn sysroot() -> Result<PathBuf, Problem> {
    Ok(PathBuf::from(process::output(Command::new("rustc").args(["--print", "sysroot"]))?))
}

fn has_target(sysroot: &Path, target: &str) -> bool {
    let library = sysroot.join("lib/rustlib").join(target).join("lib");
    let Ok(entries) = fs::read_dir(library) else {
        return false;
    };
    entries.flatten().any(|entry| {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        name.starts_with("libstd-") && name.ends_with(".rlib")
    })
}

fn remembered(file: &Path) -> Option<Way> {
    let document: Value = serde_json::from_str(&fs::read_to_string(file).ok()?).ok()?;
    Way::parse(document.get("way")?.as_str()?).ok()
}

fn add_target() -> Result<Toolchain, Problem> {
    add(TARGET)?;
    Ok(Toolchain::plain(Way::Rustup))
}

fn add(target: &str) -> Result<(), Problem> {
    process::run_within(Command::new("rustup").args(["target", "add", target]), RUSTUP_LIMIT)
}

fn distribution(sysroot: &Path) -> Result<Toolchain, Problem> {
    let source = Path::new("/usr/lib/rustlib/src/rust/library/std");
    if ![Path::new(DISTRIBUTION_RUSTC), Path::new(DISTRIBUTION_LIBC), source].iter().all(|path| path.exists()) {
        distribution::install(&format!("a Rust standard library for {TARGET}"), &DISTRIBUTION_PACKAGES)?;
    }
    let linkers = sysroot.join("lib/rustlib").join(host_triple()?).join("bin");
    let linker = linkers.join("wasm-component-ld");
    if !linker.is_file() {
        return Err(Problem::Missing {
            what: linker.display().to_string(),
            help: "it comes with a Rust toolchain installed by rustup".to_owned(),
        });
    }
    let variable = |name: &str, value: String| (name.to_owned(), value);
    Ok(Toolchain {
        way: Way::Distribution,
        path: vec![linkers.clone(), linkers.join("gcc-ld")],
        variables: BTreeMap::from([
            variable("RUSTC", DISTRIBUTION_RUSTC.to_owned()),
            // Lets a stable cargo and compiler build the standard library.
            variable("RUSTC_BOOTSTRAP", "1".to_owned()),
            variable("CARGO_UNSTABLE_BUILD_STD", "std,panic_abort".to_owned()),
            variable("RUSTFLAGS", format!("-Clink-self-contained=no -L native={DISTRIBUTION_LIBC}")),
            variable("CARGO_TARGET_WASM32_WASIP2_LINKER", linker.display().to_string()),
        ]),
    })
}

fn host_triple() -> Result<String, Problem> {
    let text = process::output(Command::new("rustc").arg("-vV"))?;
    let triple = text.lines().find_map(|line| line.strip_prefix("host: "));
    triple.map(str::to_owned).ok_or(Problem::Output { command: "rustc -vV".to_owned(), expected: "the host's target" })
}
