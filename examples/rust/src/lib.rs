//! The smallest connector: one action. `bulkhead build examples/rust` makes the component.

use bulkhead_sdk::prelude::*;

#[derive(Deserialize, JsonSchema)]
struct Greet {
    /// Whom to greet.
    name: String,
}

#[derive(Serialize, JsonSchema)]
struct Greeting {
    text: String,
}

struct Hello;

#[connector]
impl Hello {
    /// Says hello.
    #[action(read_only)]
    fn greet(input: Greet) -> Result<Greeting, Failure> {
        Ok(Greeting { text: format!("Hello, {}!", input.name) })
    }
}
