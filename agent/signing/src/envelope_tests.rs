//! Good envelopes, and everything that can be wrong with one.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::config::TrustedKey;
use crate::error::TrustErrorKind as Kind;
use crate::statement::{CommandStatement, ConfigStatement, MAX_BODY_BYTES, Recipient};

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn trust(id: &str, secret: &SecretKey, allow: &[Domain]) -> TrustConfig {
    let key = TrustedKey { id: name(id), public_key: secret.public(), allow: allow.to_vec() };
    TrustConfig { key: vec![key], ..TrustConfig::default() }
}

fn statement(version: u64) -> ConfigStatement {
    ConfigStatement {
        domain: Domain::Config,
        site: name("warehouse-1"),
        node: name("dock-3"),
        version,
        not_after: None,
        body: json!({"camera": [{"id": "dock", "source": "test:"}]}),
    }
}

fn command() -> CommandStatement {
    CommandStatement {
        domain: Domain::Command,
        site: name("warehouse-1"),
        node: name("dock-3"),
        name: name("snapshot"),
        nonce: "0123456789abcdef".into(),
        not_after: "2026-11-24T10:00:00Z".parse().unwrap(),
        boot: None,
        body: json!({}),
    }
}

fn here() -> Recipient {
    Recipient { site: name("warehouse-1"), node: name("dock-3") }
}

fn opened(bytes: &[u8], trust: &TrustConfig) -> Result<ConfigStatement, TrustError> {
    ConfigStatement::read(&Envelope::open(bytes, trust, Domain::Config)?)
}

#[test]
fn what_was_signed_comes_out_again() {
    let secret = SecretKey::generate().unwrap();
    let text = statement(8).sign(&secret, name("ops")).unwrap().to_json();
    let trust = trust("ops", &secret, &[Domain::Config]);
    let verified = Envelope::open(text.as_bytes(), &trust, Domain::Config).unwrap();
    assert_eq!(verified.key, name("ops"));
    let read = ConfigStatement::read(&verified).unwrap();
    assert_eq!(read, statement(8));
    read.check(&here(), None).unwrap();
}

#[test]
fn an_envelope_of_the_design_is_read_though_fields_may_be_absent() {
    let secret = SecretKey::generate().unwrap();
    let payload = br#"{"domain":"config","site":"warehouse-1","node":"dock-3","version":1,"body":{}}"#;
    let text = Envelope::sign(&secret, name("ops"), payload).to_json();
    assert_eq!(opened(text.as_bytes(), &trust("ops", &secret, &[Domain::Config])).unwrap().not_after, None);
}

#[test]
fn each_thing_that_is_wrong_has_its_name() {
    let (secret, other) = (SecretKey::generate().unwrap(), SecretKey::generate().unwrap());
    let trust = trust("ops", &secret, &[Domain::Config]);
    let good = statement(1).sign(&secret, name("ops")).unwrap();
    let kind = |text: &str| opened(text.as_bytes(), &trust).unwrap_err().kind();
    let signed = |payload: &str| Envelope::sign(&secret, name("ops"), payload.as_bytes()).to_json();
    let with = |change: &dyn Fn(&mut Envelope)| {
        let mut changed = good.clone();
        change(&mut changed);
        changed.to_json()
    };

    for text in ["", "hello", "[]", "{}", r#"{"key":"ops"}"#, &"[".repeat(100_000)] {
        assert_eq!(kind(text), Kind::NotAnEnvelope, "{text:.40}");
    }
    let more = good.to_json().replace("{\"key\"", "{\"also\":1,\"key\"");
    assert_eq!(kind(&more), Kind::NotAnEnvelope, "an unknown field");
    let twice = good.to_json().replace("{\"key\"", "{\"key\":\"ops\",\"key\"");
    assert_eq!(kind(&twice), Kind::NotAnEnvelope, "a key twice");
    assert_eq!(kind(&(good.to_json() + "x")), Kind::NotAnEnvelope, "something behind it");
    assert_eq!(kind(&" ".repeat(MAX_ENVELOPE_BYTES + 1)), Kind::TooLarge);
    assert_eq!(kind(&signed(&"x".repeat(MAX_PAYLOAD_BYTES + 1))), Kind::TooLarge);

    assert_eq!(kind(&with(&|e| e.key = name("stranger"))), Kind::UnknownKey);
    assert_eq!(kind(&with(&|e| e.payload = "@@".into())), Kind::NotBase64);
    assert_eq!(kind(&with(&|e| e.signature = "AAA".into())), Kind::NotBase64);
    assert_eq!(kind(&with(&|e| e.signature = "AAAA".into())), Kind::BadSignature);
    assert_eq!(kind(&statement(1).sign(&other, name("ops")).unwrap().to_json()), Kind::BadSignature);

    assert_eq!(kind(&signed("no json")), Kind::BadPayload);
    assert_eq!(kind(&signed("{}{}")), Kind::BadPayload);
    let payload = serde_json::to_string(&statement(1)).unwrap();
    assert_eq!(kind(&signed(&payload.replace("{\"domain\"", "{\"more\":1,\"domain\""))), Kind::BadPayload);
    assert_eq!(
        kind(&signed(&payload.replace("\"version\":1", "\"version\":1,\"version\":2"))),
        Kind::BadPayload
    );
    assert_eq!(kind(&signed(&payload.replace("\"version\":1", "\"version\":0"))), Kind::BadPayload);
    assert_eq!(kind(&signed(&payload.replace("\"version\":1", "\"version\":-1"))), Kind::BadPayload);
    assert_eq!(
        kind(&signed(&payload.replace("\"body\":{", "\"body\":[{").replace("}}", "}]}"))),
        Kind::BadPayload
    );
    let deep = payload.replace("\"test:\"", &("[".repeat(40) + &"]".repeat(40)));
    assert_eq!(kind(&signed(&deep)), Kind::TooDeep);
}

#[test]
fn a_body_above_its_limit_is_neither_signed_nor_taken() {
    let secret = SecretKey::generate().unwrap();
    let mut large = statement(1);
    large.body = json!({ "x": "y".repeat(MAX_BODY_BYTES) });
    assert_eq!(large.sign(&secret, name("ops")).unwrap_err().kind(), Kind::TooLarge);
    let payload = serde_json::to_vec(&large).unwrap();
    let text = Envelope::sign(&secret, name("ops"), &payload).to_json();
    let error = opened(text.as_bytes(), &trust("ops", &secret, &[Domain::Config])).unwrap_err();
    assert_eq!(error.kind(), Kind::TooLarge);
}

#[test]
fn a_key_is_good_only_for_what_it_is_allowed() {
    let secret = SecretKey::generate().unwrap();
    let text = command().sign(&secret, name("ops")).unwrap().to_json();
    let config_only = trust("ops", &secret, &[Domain::Config]);
    let error = Envelope::open(text.as_bytes(), &config_only, Domain::Command).unwrap_err();
    assert_eq!(error.kind(), Kind::NotAllowed);
    let nobody = TrustConfig::default();
    assert_eq!(Envelope::open(text.as_bytes(), &nobody, Domain::Command).unwrap_err().kind(), Kind::NoKeys);
}

#[test]
fn a_signature_over_one_kind_of_statement_never_passes_for_another() {
    let secret = SecretKey::generate().unwrap();
    let trust = trust("ops", &secret, &[Domain::Config, Domain::Command]);
    let config = statement(1).sign(&secret, name("ops")).unwrap().to_json();
    let as_command = Envelope::open(config.as_bytes(), &trust, Domain::Command).unwrap();
    assert_eq!(CommandStatement::read(&as_command).unwrap_err().kind(), Kind::WrongDomain);
    let command = command().sign(&secret, name("ops")).unwrap().to_json();
    assert_eq!(opened(command.as_bytes(), &trust).unwrap_err().kind(), Kind::WrongDomain);
    let lying = ConfigStatement { domain: Domain::Command, ..statement(1) };
    assert_eq!(lying.sign(&secret, name("ops")).unwrap_err().kind(), Kind::WrongDomain);
}

#[test]
fn a_statement_for_another_node_or_of_another_time_is_refused() {
    let now = "2026-11-24T10:00:00Z".parse().unwrap();
    let other = ConfigStatement { node: name("dock-4"), ..statement(1) };
    let error = other.check(&here(), Some(now)).unwrap_err();
    assert_eq!(error.kind(), Kind::OtherNode);
    assert!(
        error.to_string().contains("warehouse-1/dock-4") && error.to_string().contains("dock-3"),
        "{error}"
    );
    let old = ConfigStatement { not_after: Some("2026-11-24T09:59:59Z".parse().unwrap()), ..statement(1) };
    assert_eq!(old.check(&here(), Some(now)).unwrap_err().kind(), Kind::Expired);
    old.check(&here(), None).unwrap();
    assert_eq!(command().check(&here(), "drain").unwrap_err().kind(), Kind::BadPayload);
    command().check(&here(), "snapshot").unwrap();
}

#[test]
fn a_nonce_that_could_be_anything_is_refused() {
    let secret = SecretKey::generate().unwrap();
    for nonce in ["", "short", "with blanks in it ....", "x/y-0123456789abcdef", &"n".repeat(65)] {
        let bad = CommandStatement { nonce: nonce.to_owned(), ..command() };
        assert_eq!(bad.sign(&secret, name("ops")).unwrap_err().kind(), Kind::BadPayload, "{nonce}");
    }
}

fn seeds(target: &str) -> Vec<(String, Vec<u8>)> {
    let folder = format!("{}/../../tests/fuzz/corpus/{target}", env!("CARGO_MANIFEST_DIR"));
    let files = std::fs::read_dir(&folder).unwrap().map(|e| e.unwrap().path());
    let seeds: Vec<_> = files.map(|p| (p.display().to_string(), std::fs::read(p).unwrap())).collect();
    assert!(seeds.len() > 3, "{folder} is nearly empty");
    seeds
}

#[test]
fn the_seeds_of_the_fuzz_targets_are_read_or_refused() {
    let secret = SecretKey::generate().unwrap();
    let trust = trust("ops", &secret, &[Domain::Config]);
    let below = |payload: Vec<u8>, domain| Verified { key: name("ops"), domain, payload };
    for (seed, bytes) in seeds("envelope") {
        assert!(opened(&bytes, &trust).is_err(), "{seed}: nobody signed this");
        drop(ConfigStatement::read(&below(bytes, Domain::Config)));
    }
    let commands = seeds("command");
    let good = commands.iter().filter(|(_, bytes)| {
        CommandStatement::read(&below(bytes.clone(), Domain::Command)).is_ok_and(|command| {
            let again = serde_json::to_vec(&command).unwrap();
            CommandStatement::read(&below(again, Domain::Command)).unwrap() == command
        })
    });
    assert!(good.count() >= 2);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_bytes_are_refused_without_a_panic(bytes: Vec<u8>) {
        let secret = SecretKey::generate().unwrap();
        let trust = trust("ops", &secret, &[Domain::Config]);
        prop_assert!(opened(&bytes, &trust).is_err());
        // The same below a good signature.
        let text = Envelope::sign(&secret, name("ops"), &bytes).to_json();
        prop_assert!(opened(text.as_bytes(), &trust).is_err());
    }

    #[test]
    fn any_flipped_bit_in_payload_or_signature_is_noticed(at in 0usize..10_000, bit in 0u8..8, signature: bool) {
        let secret = SecretKey::generate().unwrap();
        let trust = trust("ops", &secret, &[Domain::Config]);
        let mut envelope = statement(3).sign(&secret, name("ops")).unwrap();
        let field = if signature { &mut envelope.signature } else { &mut envelope.payload };
        // In the signed bytes …
        let mut bytes = STANDARD.decode(field.as_str()).unwrap();
        let at_byte = at % bytes.len();
        bytes[at_byte] ^= 1 << bit;
        let as_sent = std::mem::replace(field, STANDARD.encode(&bytes));
        let refused = opened(envelope.to_json().as_bytes(), &trust);
        prop_assert_eq!(refused.unwrap_err().kind(), Kind::BadSignature);
        // … and in the text that carries them.
        let mut text = as_sent.into_bytes();
        let at_letter = at % text.len();
        text[at_letter] ^= 1 << (bit % 7);
        let field = if signature { &mut envelope.signature } else { &mut envelope.payload };
        if let Ok(changed) = String::from_utf8(text) {
            *field = changed;
            prop_assert!(opened(envelope.to_json().as_bytes(), &trust).is_err());
        }
    }

    #[test]
    fn any_statement_survives_signing(version in 1u64.., seconds in proptest::option::of(0i64..4_000_000_000), text in "\\PC{0,60}") {
        let secret = SecretKey::generate().unwrap();
        let mut written = statement(version);
        written.not_after = seconds.map(|s| jiff::Timestamp::from_second(s).unwrap());
        written.body = json!({ "camera": [text.clone(), { text: 0.1 }] });
        let sent = written.sign(&secret, name("ops")).unwrap().to_json();
        prop_assert_eq!(opened(sent.as_bytes(), &trust("ops", &secret, &[Domain::Config])).unwrap(), written);
    }
}
