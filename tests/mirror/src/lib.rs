//! A connector for the stories about records, routes and runs that are run again: it does what its provider says.

use bulkhead_sdk::prelude::*;

streams! {
    Things = "things";
}

/// Something that is pulled and pushed.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct Thing {
    /// Whether the provider is asked where it recognises a repeated request.
    #[serde(default)]
    keyed: bool,
    name: String,
}

/// What is said of something; with our id of it in a route.
#[derive(Serialize, Deserialize, JsonSchema)]
struct Seen {
    thing: Ref<Things>,
}

#[derive(Serialize, Deserialize, JsonSchema)]
struct Named {
    thing: String,
}

/// What a tenant may say.
#[derive(Deserialize)]
struct Settings {
    /// Where its check signs in, which no check should.
    sign_in_at: Option<String>,
    /// Whether its check breaks.
    #[serde(default)]
    breaks: bool,
    /// Whether its check asks its provider, as long as that does not answer.
    #[serde(default)]
    asks: bool,
}

/// What there is at the provider.
#[derive(Deserialize)]
struct There {
    id: String,
    name: String,
    /// It was there and is no more.
    #[serde(default)]
    gone: bool,
}

#[derive(Deserialize)]
struct Listed {
    things: Vec<There>,
    next: Option<Value>,
    more: bool,
}

#[derive(Deserialize)]
struct Made {
    id: String,
    /// Whether it is to be looked at again.
    #[serde(default)]
    read_back: bool,
    /// How long it would rather not have made it.
    busy_for_ms: Option<u64>,
}

struct Mirror;

#[connector]
impl Mirror {
    #[check]
    fn check() -> Result<Identity, Failure> {
        let settings = context::settings::<Settings>()?;
        assert!(!settings.breaks, "as it was told");
        if settings.asks {
            let ask = || http::get("https://mirror.example/pages").timeout_ms(20_000).send();
            (0..6).find_map(|_| ask().ok());
        }
        if let Some(place) = settings.sign_in_at {
            http::post(format!("https://mirror.example/{place}")).json(&json!({})).send()?.error_for_status()?;
        }
        Ok(Identity::new("mirror", "Mirror"))
    }

    /// Makes the first of two things and then the second.
    #[action]
    fn make_two(input: Named) -> Result<Named, Failure> {
        for place in ["first", "second"] {
            let body = json!({ "name": input.thing, "place": place });
            http::post("https://mirror.example/things").json(&body).effect(place).send()?.error_for_status()?;
        }
        Ok(input)
    }

    /// Reads what there is, makes a thing that says what was the last of it, and looks for it.
    #[action]
    fn look_and_make(input: Named) -> Result<Named, Failure> {
        let there: String = http::get("https://mirror.example/pages").send()?.error_for_status()?.json()?;
        if there == "it is there" {
            return Ok(input);
        }
        let body = json!({ "name": input.thing, "after": there.chars().last() });
        http::post("https://mirror.example/things").json(&body).effect("thing").send()?.error_for_status()?;
        http::get("https://mirror.example/things").send()?.error_for_status()?;
        Ok(input)
    }

    /// Says that it saw something of the provider's.
    #[action]
    fn see(input: Named) -> Result<Outcome<Named>, Failure> {
        let event = Event::new(&input.thing, "seen", Seen { thing: Ref::new(&input.thing) })?;
        Ok(Outcome::done(input).event(event))
    }

    /// Takes one of our own things and answers it.
    #[action]
    fn take(input: Named) -> Result<Named, Failure> {
        Ok(input)
    }

    /// Does something, and fails at two other things.
    #[action]
    fn do_in_part() -> Result<Outcome<()>, Failure> {
        Ok(Outcome::partial((), vec![Failure::rejected("the first one"), Failure::rejected("the second one")]))
    }

    #[pull("things")]
    fn pull(pull: Pull<Value>) -> Result<Page<Thing, Value>, Failure> {
        let at = pull.cursor.map_or_else(|| "start".to_owned(), |cursor| cursor.to_string());
        let listed: Listed = http::get("https://mirror.example/pages").query("at", at).send()?.json()?;
        let change = |there: There| match there.gone {
            true => Change::delete(External::new(there.id)),
            false => Change::upsert(External::new(there.id), Thing { name: there.name, keyed: false }),
        };
        Ok(Page::new(listed.things.into_iter().map(change)).more(listed.more).next(listed.next))
    }

    #[push("things")]
    fn push(change: Outgoing<Thing>) -> Result<Pushed, Failure> {
        let Op::Upsert(thing) = change.op else { return Err(Failure::unsupported("things stay")) };
        let place = if thing.keyed { "keyed-things" } else { "things" };
        let url = match &change.known {
            Some(known) => format!("https://mirror.example/{place}/{}", known.id),
            None => format!("https://mirror.example/{place}"),
        };
        let answered = http::post(url).json(&thing).effect("thing").send()?;
        if answered.status() == 409 {
            http::get("https://mirror.example/things").query("name", &thing.name).send()?.error_for_status()?;
        }
        let made: Made = answered.error_for_status()?.json()?;
        if let Some(after_ms) = made.busy_for_ms {
            return Err(Failure::unavailable("Another time.").retry_after_ms(after_ms));
        }
        if made.read_back {
            http::get("https://mirror.example/things").query("id", &made.id).send()?.error_for_status()?;
        }
        if thing.name == "remembered" {
            state::set("made", &made.id)?;
        }
        Ok(Pushed::Stored(External::new(made.id)))
    }

    /// Whatever the provider says, its things are to be pulled, and it says so three times.
    #[receive]
    fn receive(_delivery: Delivery) -> Result<Receipt, Failure> {
        Ok(Receipt::new().pull("things").pull("things").pull("no such thing").pull("things"))
    }

    /// Something was seen
    #[event("seen")]
    type SeenThing = Seen;
}
