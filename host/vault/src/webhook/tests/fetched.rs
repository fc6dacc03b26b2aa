//! Schemes for which something has to be fetched: certificates, a token's keys, the provider's word.

use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};

use super::*;

fn certificate_url(text: &str) -> Result<Option<Url>, Refusal> {
    let headers = [("PAYPAL-CERT-URL".to_owned(), text.to_owned())];
    let request = Inbound { headers: &headers, url: "", query: "", path_token: None, body: b"" };
    wanted(&declared("PayPal").scheme, &request)
}

/// Mutation: certificate.rs, `url`, without the comparison with the hosts, or with what else a URL can say.
#[test]
fn a_certificate_is_fetched_from_the_providers_own_hosts_and_nowhere_else() {
    let at = |text| certificate_url(text).map(|url| url.unwrap().to_string());
    assert_eq!(at("https://api.paypal.com/certs/1").as_deref(), Ok("https://api.paypal.com/certs/1"));
    for elsewhere in [
        "https://paypal.com.evil.example/certs/1",
        "https://apipaypal.com/certs/1",
        "https://paypal.com/certs/1",
        "https://a.b.paypal.com/certs/1",
        "https://127.0.0.1/certs/1",
        "https://[::1]/certs/1",
        "https://api.paypal.com./certs/1",
    ] {
        assert!(matches!(at(elsewhere), Err(Refusal::Elsewhere { .. })), "{elsewhere}");
    }
    let long = format!("https://api.paypal.com/{}", "x".repeat(600));
    for malformed in [
        "http://api.paypal.com/certs/1",
        "https://user@api.paypal.com/certs/1",
        "https://api.paypal.com:8443/certs/1",
        "https://api.paypal.com/certs/1#x",
        "https://api.paypal.com/certs/1?2",
        "https://evil.example/?https://api.paypal.com/",
        "file:///etc/passwd",
        "//api.paypal.com/certs/1",
        "HTTPS://api.paypal.com/certs/1",
        "https://API.paypal.com/certs/1",
        "https://api.paypal.com/a/../certs/1",
        "https://evil.example\\@api.paypal.com/certs/1",
        "",
        &long,
    ] {
        assert!(matches!(at(malformed), Err(Refusal::Malformed { .. })), "{malformed}");
    }
}

/// Mutation: certificate.rs, `fits`, without `verify_for_usage`.
#[test]
fn a_certificate_holds_only_where_its_chain_does() {
    let good = vector("PayPal");
    assert!(good.verify().is_ok());
    let certificate = |vector: &Vector| vector.verify().is_err_and(|e| matches!(e, Refusal::Certificate { .. }));
    assert!(certificate(&Vector { trusted: None, ..good.clone() }), "nobody is trusted");
    let end = "-----END CERTIFICATE-----\n";
    let (leaf, _) = good.fetched.as_deref().unwrap().split_once(end).unwrap();
    assert!(certificate(&Vector { fetched: Some(format!("{leaf}{end}")), ..good.clone() }), "without its issuer");
    for nothing in ["", "no certificate", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
        assert!(certificate(&Vector { fetched: Some(nothing.to_owned()), ..good.clone() }), "{nothing}");
    }
    assert_eq!(Vector { fetched: None, ..good.clone() }.verify(), Err(Refusal::NotFetched));
    // It was made for 2026.
    for (at_s, holds) in [(1_798_700_000, true), (1_798_800_000, false), (1_760_000_000, false)] {
        assert_eq!(certificate(&Vector { now_s: at_s, ..good.clone() }), !holds, "{at_s}");
    }
    // What stands far behind is not read, however good it is.
    let (_, issuer) = good.fetched.as_deref().unwrap().split_once(end).unwrap();
    for (between, holds) in [(6, true), (7, false)] {
        let padded = format!("{leaf}{end}{}{issuer}", format!("{leaf}{end}").repeat(between));
        let result = Vector { fetched: Some(padded), ..good.clone() }.verify();
        assert_eq!(result.is_ok(), holds, "{between}: {result:?}");
    }
    // It holds, and is for the same name: what it signed is something else.
    let another = good.others["a certificate of another key"].clone();
    assert_eq!(Vector { fetched: Some(another), ..good.clone() }.verify(), Err(Refusal::Mismatch));
    // Trusted by itself it is no server's: an authority signs certificates, not requests.
    let root = good.trusted.clone();
    assert!(certificate(&Vector { fetched: root, ..good }));
}

/// Of the certificate, and of the number that is a key.
#[test]
fn one_flipped_bit_in_what_was_fetched_is_refused() {
    let (certified, token) = (vector("PayPal"), vector("Gmail"));
    let refused = |vector: &Vector, fetched: String, bit: usize| {
        let result = Vector { fetched: Some(fetched), ..vector.clone() }.verify();
        assert!(result.is_err(), "{}: what was fetched with bit {bit} flipped", vector.name);
    };
    let flipped = |bytes: &[u8], bit: usize| {
        let mut bytes = bytes.to_vec();
        bytes[bit / 8] ^= 1 << (bit % 8);
        bytes
    };
    let chain = certified.fetched.clone().unwrap();
    let (begin, end) = ("-----BEGIN CERTIFICATE-----\n", "\n-----END CERTIFICATE-----");
    let (first, others) = chain.strip_prefix(begin).unwrap().split_once(end).unwrap();
    let certificate = BASE64_STANDARD.decode(first.replace('\n', "")).unwrap();
    for bit in 0..certificate.len() * 8 {
        let lines = BASE64_STANDARD.encode(flipped(&certificate, bit));
        let lines: Vec<_> = lines.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
        refused(&certified, format!("{begin}{}{end}{others}", lines.join("\n")), bit);
    }
    let keys: Value = serde_json::from_str(token.fetched.as_deref().unwrap()).unwrap();
    let number = BASE64_URL_SAFE_NO_PAD.decode(keys["keys"][0]["n"].as_str().unwrap()).unwrap();
    for bit in 0..number.len() * 8 {
        let mut keys = keys.clone();
        keys["keys"][0]["n"] = BASE64_URL_SAFE_NO_PAD.encode(flipped(&number, bit)).into();
        refused(&token, keys.to_string(), bit);
    }
}

/// Mutation: certificate.rs, `fits`, without `subject`.
#[test]
fn a_certificate_may_have_to_be_for_a_name() {
    let vector = vector("PayPal");
    let Scheme::PublicKey(scheme) = declared("PayPal").scheme else { unreachable!() };
    let for_name = |name: &str| {
        let mut scheme = scheme.clone();
        let PublicKey::Certificate { subject, .. } = &mut scheme.key else { unreachable!() };
        *subject = Some(name.to_owned());
        let (headers, trusted, key) = (vector.headers(), vector.trusted(), secret(&vector.secret));
        let fetched = Fetched { bytes: vector.fetched.as_deref().map(str::as_bytes), trusted: &trusted };
        let scheme = Scheme::PublicKey(scheme);
        verify_with(&scheme, &[&key], &vector.as_it_came(&headers), &fetched, vector.now_s * 1000).is_ok()
    };
    assert!(for_name("messageverificationcerts.paypal.com"));
    assert!(!for_name("api.paypal.com"));
}

/// Mutation: jwt.rs, `check_claims` or `verify`, without any one of them.
#[test]
fn a_token_is_of_this_issuer_for_this_address_about_this_sender_and_for_now() {
    let good = vector("Gmail");
    let with = |token: &str| {
        let headers = BTreeMap::from([("Authorization".to_owned(), format!("Bearer {token}"))]);
        Vector { headers, ..good.clone() }.verify()
    };
    let claim = |name: &str| Err(Refusal::Claim { claim: name.to_owned() });
    for (about, token) in &good.others {
        match about.as_str() {
            "aud among others" | "nbf before now" => assert!(with(token).is_ok()),
            "kid" => assert_eq!(with(token), Err(Refusal::UnknownKey)),
            "no exp" => assert_eq!(with(token), claim("exp")),
            "none" | "HS256 with the public key" => {
                assert!(matches!(with(token), Err(Refusal::Malformed { .. })), "{about}");
            }
            name => assert_eq!(with(token), claim(name)),
        }
    }
    assert_eq!(good.others.len(), 13);
    let (token, problem) = (&good.headers["Authorization"], "it is too long for a token");
    let long = with(&format!("{}{}", token.trim_start_matches("Bearer "), "A".repeat(8 << 10)));
    assert_eq!(long, Err(Refusal::Malformed { place: "header Authorization".to_owned(), problem }));
    assert_eq!(Vector { secret: "somebody@else".into(), ..good.clone() }.verify(), claim("email"));
    assert_eq!(Vector { fetched: None, ..good.clone() }.verify(), Err(Refusal::NotFetched));
    assert_eq!(Vector { fetched: Some("{\"keys\":[]}".into()), ..good.clone() }.verify(), Err(Refusal::UnknownKey));
    assert_eq!(Vector { now_s: good.now_s + 2 * 3_600, ..good.clone() }.verify(), claim("exp"));
    assert_eq!(Vector { now_s: 0, ..good }.verify(), claim("iat"));
}

/// Mutation: `questions`, none where any key is no text.
#[test]
fn a_provider_is_asked_about_the_very_bytes() {
    let declared = declared("PayPal, by postback");
    let body = br#" {"id": "WH-1", "amount": 1.10, "x": "}"} "#;
    let names = ["AUTH-ALGO", "CERT-URL", "TRANSMISSION-ID", "TRANSMISSION-SIG", "TRANSMISSION-TIME"];
    let headers: Vec<_> = names.map(|name| (format!("PayPal-{name}"), format!("{name}\"}}"))).into();
    let key = secret("1JE4\"2");
    let request = Inbound { headers: &headers, url: "", query: "", path_token: None, body };
    let asked = questions(&declared.scheme, &[&key], &request).unwrap().remove(0);
    let asked = String::from_utf8(asked).unwrap();
    assert!(asked.ends_with(r#","webhook_event": {"id": "WH-1", "amount": 1.10, "x": "}"} }"#), "{asked}");
    let read: Value = serde_json::from_str(&asked).unwrap();
    assert_eq!((&read["transmission_id"], &read["webhook_id"]), (&"TRANSMISSION-ID\"}".into(), &"1JE4\"2".into()));
    // Nobody closes the question from inside.
    for body in [&b"{}, \"webhook_id\": \"other\""[..], b"", b"{", b"{} {}", b"\xff"] {
        let request = Inbound { body, ..request };
        assert!(matches!(questions(&declared.scheme, &[&key], &request), Err(Refusal::Malformed { .. })));
    }
    assert_eq!(questions(&declared.scheme, &[], &request), Err(Refusal::NoKey));
    let no_text = Secret::new(vec![0xff]);
    assert_eq!(questions(&declared.scheme, &[&no_text], &request), Err(Refusal::BadKey));
    assert_eq!(questions(&declared.scheme, &[&no_text, &key], &request).unwrap().len(), 1);
    let fewer = Inbound { headers: &headers[1..], ..request };
    assert!(matches!(questions(&declared.scheme, &[&key], &fewer), Err(Refusal::Missing { .. })));
    for (length, asks) in [(4 << 10, true), ((4 << 10) + 1, false)] {
        let long = [vec![(headers[0].0.clone(), "x".repeat(length))], headers[1..].to_vec()].concat();
        let request = Inbound { headers: &long, ..request };
        assert_eq!(questions(&declared.scheme, &[&key], &request).is_ok(), asks, "{length}");
    }

    // A yes to something that has no time is none.
    let yes = Fetched { bytes: Some(br#"{"verification_status":"SUCCESS"}"#), trusted: &[] };
    let timeless = verify_with(&declared.scheme, &[&key], &request, &yes, 0);
    assert!(matches!(timeless, Err(Refusal::Malformed { .. })), "{timeless:?}");
    let headers = [&headers[..4], &[(headers[4].0.clone(), "1970-01-01T00:00:00Z".to_owned())]].concat();
    let request = Inbound { headers: &headers, ..request };
    let answered = |bytes: Option<&[u8]>| {
        verify_with(&declared.scheme, &[&key], &request, &Fetched { bytes, trusted: &[] }, 0).map(drop)
    };
    assert_eq!(answered(Some(br#"{"verification_status":"SUCCESS"}"#)), Ok(()));
    assert_eq!(answered(Some(br#"{"verification_status":"FAILURE"}"#)), Err(Refusal::Denied));
    assert_eq!(answered(Some(br#"{"other":"SUCCESS"}"#)), Err(Refusal::Denied));
    assert_eq!(answered(Some(b"SUCCESS")), Err(Refusal::NotFetched));
    assert_eq!(answered(None), Err(Refusal::NotFetched));
}
