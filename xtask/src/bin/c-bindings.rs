//! Writes C bindings of one world: `c-bindings WIT-DIRECTORY WORLD OUTPUT-DIRECTORY`.
//!
//! What `wit-bindgen c` does, from the same library: building the whole command would take minutes.

use std::error::Error;
use std::path::PathBuf;

use wit_bindgen_core::Files;
use wit_bindgen_core::wit_parser::Resolve;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [wit, world, output] = arguments.as_slice() else {
        return Err("c-bindings WIT-DIRECTORY WORLD OUTPUT-DIRECTORY".into());
    };
    let mut resolve = Resolve::default();
    let (package, _) = resolve.push_dir(wit)?;
    let world = resolve.select_world(&[package], Some(world))?;
    let mut files = Files::default();
    wit_bindgen_c::Opts::default().build().generate(&mut resolve, world, &mut files)?;
    let output = PathBuf::from(output);
    std::fs::create_dir_all(&output)?;
    for (name, contents) in files.iter() {
        std::fs::write(output.join(name), contents)?;
    }
    Ok(())
}
