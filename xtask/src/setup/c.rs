//! What the C guest is built with: clang, LLVM's wasm linker and a libc for WASI.

use std::path::{Path, PathBuf};

use crate::distribution;
use crate::problem::Problem;
use crate::process;

const PACKAGES: [&str; 3] = ["clang", "lld", "wasi-libc"];

pub(crate) struct Tools {
    pub(crate) clang: PathBuf,
    pub(crate) linker: PathBuf,
    pub(crate) headers: PathBuf,
    pub(crate) libraries: PathBuf,
}

impl Tools {
    pub(crate) fn find() -> Option<Tools> {
        let libraries = Path::new("/usr/lib/wasm32-wasi");
        let headers = Path::new("/usr/include/wasm32-wasi");
        if !libraries.join("crt1-reactor.o").is_file() || !headers.join("string.h").is_file() {
            return None;
        }
        Some(Tools {
            clang: process::find("clang")?,
            linker: process::find("wasm-ld")?,
            headers: headers.to_owned(),
            libraries: libraries.to_owned(),
        })
    }

    pub(crate) fn missing() -> String {
        format!("{} are needed: `cargo xtask setup --guests-other`", PACKAGES.join(", "))
    }
}

pub(crate) fn prepare() -> Result<String, Problem> {
    if Tools::find().is_none() {
        distribution::install("a C compiler for guests", &PACKAGES)?;
    }
    match Tools::find() {
        Some(tools) => Ok(format!("{} with the libc in {}", tools.clang.display(), tools.libraries.display())),
        None => Err(Problem::Missing { what: "a C compiler for guests".to_owned(), help: Tools::missing() }),
    }
}
