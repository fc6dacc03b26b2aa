//! `bulkhead publish FILE`.

use std::io::{Write as _, stdout};
use std::path::PathBuf;

use crate::client::Server;

/// Uploads a component that `bulkhead build` made.
#[derive(clap::Args)]
pub(crate) struct Publish {
    /// The component: target/connectors/NAME.wasm.
    file: PathBuf,
    #[command(flatten)]
    server: Server,
}

impl Publish {
    pub(crate) async fn run(self) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let file = self.file.display();
        if self.file.is_dir() {
            return Err(format!("{file} is a folder: name the component that `bulkhead build {file}` made").into());
        }
        let wasm = std::fs::read(&self.file).map_err(|error| format!("{file} cannot be read: {error}"))?;
        let published = self.server.post_bytes("/v1/connectors", wasm).await?;
        let text = |name: &str| published.get(name).and_then(|value| value.as_str()).unwrap_or_default().to_owned();
        let already = published.get("already").and_then(serde_json::Value::as_bool).unwrap_or_default();
        let what = if already { "was there already" } else { "is published" };
        let shared = published.get("shared").and_then(serde_json::Value::as_bool).unwrap_or_default();
        let whom = if shared { "for every tenant" } else { "for one tenant" };
        let (name, version) = (text("name"), text("version_text"));
        writeln!(stdout(), "{name} {version} {what}, {whom} ({}, sha256 {})", text("version"), text("digest"))?;
        Ok(())
    }
}
