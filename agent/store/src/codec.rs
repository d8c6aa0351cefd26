//! Events as they lie in the file: what repeats itself apart from what does not.
//!
//! Invariant: `decode(encode(event)) == event` for every event whose numbers are finite and whose time has whole
//! milliseconds, which is what the wire carries anyway. A number that is not finite becomes "unknown".

use std::sync::Arc;

use aimass_core::event::{
    Crossing, Direction, EVENT_SCHEMA, Event, EventData, Evidence, Kind, Phase, Severity,
};
use aimass_core::finding::{Attributes, Label, ModelRef};
use aimass_core::frame::TimeSource;
use aimass_core::geometry::Region;
use aimass_core::id::Name;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use ulid::Ulid;

/// The largest body of an event, in bytes.
pub(crate) const MAX_BODY_BYTES: usize = 256 * 1024;
/// A label of at most so many bytes is taken for a class, which comes again and again; a longer one for a text.
const MAX_SHARED_LABEL_BYTES: usize = 40;

/// What many events have in common.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Context {
    pub(crate) schema: u32,
    pub(crate) boot: Ulid,
    pub(crate) replay: bool,
    #[serde(alias = "clock_ok")]
    pub(crate) clock_synchronized: bool,
    pub(crate) site: Name,
    pub(crate) node: Name,
    pub(crate) config_version: u64,
    pub(crate) time_source: TimeSource,
    pub(crate) source: Name,
    pub(crate) kind: Kind,
    pub(crate) phase: Phase,
    pub(crate) severity: Severity,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) label: Option<Label>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) zone: Option<Name>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) model: Option<ModelRef>,
}

/// What differs from event to event. One letter a field: it is written for each.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
struct Body {
    /// Long label.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    n: Option<Label>,
    /// Score.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    s: Option<f32>,
    /// Region.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    r: Option<(f32, f32, f32, f32)>,
    /// Track.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    t: Option<u64>,
    /// Occurrence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    h: Option<Ulid>,
    /// Line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    l: Option<(Name, Direction, u64, u64)>,
    /// Evidence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    b: Option<(u32, f32, f32)>,
    /// Attributes.
    #[serde(default, skip_serializing_if = "Attributes::is_empty")]
    a: Attributes,
}

/// An event taken apart.
pub(crate) struct Parts {
    pub(crate) context: String,
    pub(crate) at_ms: i64,
    pub(crate) id: [u8; 16],
    pub(crate) body: String,
}

/// Takes an event apart. Its `seq` is not in the parts.
///
/// # Errors
/// What is wrong with the event.
pub(crate) fn encode(event: &Event) -> Result<Parts, String> {
    let what = &event.what;
    let label_is_shared = what.label.len() <= MAX_SHARED_LABEL_BYTES;
    let context = Context {
        schema: event.schema,
        boot: event.boot,
        replay: event.replay,
        clock_synchronized: event.clock_synchronized,
        site: event.site.clone(),
        node: event.node.clone(),
        config_version: event.config_version,
        time_source: what.time_source,
        source: what.source.clone(),
        kind: what.kind,
        phase: what.phase,
        severity: what.severity,
        label: label_is_shared.then(|| what.label.clone()),
        zone: what.zone.clone(),
        model: what.model.clone(),
    };
    let finite = |n: f32| if n.is_finite() { n } else { 0.0 };
    let body = Body {
        n: (!label_is_shared).then(|| what.label.clone()),
        s: what.score.filter(|s| s.is_finite()),
        r: what.region.map(|r| (r.x, r.y, r.w, r.h)).filter(|r| (r.0 + r.1 + r.2 + r.3).is_finite()),
        t: what.track,
        h: what.occurrence_id,
        l: what.line.as_ref().map(|l| (l.id.clone(), l.direction, l.in_total, l.out_total)),
        b: what.evidence.as_ref().map(|b| (b.frames, finite(b.peak_score), finite(b.stationary_s))),
        a: what.attributes.clone(),
    };
    let body = serde_json::to_string(&body).map_err(|e| e.to_string())?;
    if body.len() > MAX_BODY_BYTES {
        return Err(format!("it has {} bytes, the limit is {MAX_BODY_BYTES}", body.len()));
    }
    let context = serde_json::to_string(&context).map_err(|e| e.to_string())?;
    Ok(Parts { context, at_ms: what.time.as_millisecond(), id: event.id.to_bytes(), body })
}

/// Puts an event together again.
///
/// # Errors
/// The bytes are not what [`encode`] wrote.
pub(crate) fn decode(
    seq: u64,
    context: &Context,
    at_ms: i64,
    id: &[u8],
    body: &[u8],
) -> Result<Event, String> {
    let body: Body = serde_json::from_slice(body).map_err(|e| e.to_string())?;
    let id: [u8; 16] = id.try_into().map_err(|_| "the id is not 16 bytes".to_owned())?;
    let label = body.n.or_else(|| context.label.clone()).unwrap_or_else(|| Arc::from(""));
    let mut event = Event {
        schema: EVENT_SCHEMA,
        id: Ulid::from_bytes(id),
        boot: context.boot,
        seq,
        replay: context.replay,
        clock_synchronized: context.clock_synchronized,
        site: context.site.clone(),
        node: context.node.clone(),
        config_version: context.config_version,
        what: EventData {
            time: Timestamp::from_millisecond(at_ms).map_err(|e| e.to_string())?,
            time_source: context.time_source,
            source: context.source.clone(),
            kind: context.kind,
            phase: context.phase,
            severity: context.severity,
            label,
            score: body.s,
            region: body.r.map(|(x, y, w, h)| Region { x, y, w, h }),
            track: body.t,
            occurrence_id: body.h,
            zone: context.zone.clone(),
            line: body.l.map(|(id, direction, in_total, out_total)| Crossing {
                id,
                direction,
                in_total,
                out_total,
            }),
            attributes: body.a,
            model: context.model.clone(),
            evidence: body.b.map(|(frames, peak_score, stationary_s)| Evidence {
                frames,
                peak_score,
                stationary_s,
            }),
        },
    };
    if context.schema < 2 {
        event.what.upgrade_from_schema_1();
    }
    Ok(event)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn event(score: f32, numbers: [f32; 4], track: Option<u64>, text: String, full: bool) -> Event {
        let mut attributes = Attributes::new();
        if full {
            attributes.insert("text".into(), serde_json::json!({"read": text, "n": [1, 2.5, null]}));
        }
        let [x, y, w, h] = numbers;
        Event {
            schema: EVENT_SCHEMA,
            id: Ulid::from_parts(1_790_000_000_000, track.unwrap_or(3).into()),
            boot: Ulid::from_parts(1_780_000_000_000, 7),
            seq: 77,
            replay: full,
            clock_synchronized: true,
            site: "s".parse().unwrap(),
            node: "n".parse().unwrap(),
            config_version: 3,
            what: EventData {
                time: Timestamp::from_millisecond(1_790_000_000_123).unwrap(),
                time_source: TimeSource::Rtp,
                source: "dock".parse().unwrap(),
                kind: Kind::Line,
                phase: Phase::Once,
                severity: Severity::Notice,
                label: text.into(),
                score: Some(score),
                region: full.then_some(Region { x, y, w, h }),
                track,
                occurrence_id: full.then(|| Ulid::from_parts(5, 5)),
                zone: full.then(|| "bay".parse().unwrap()),
                line: full.then(|| Crossing {
                    id: "door".parse().unwrap(),
                    direction: Direction::Out,
                    in_total: 12,
                    out_total: u64::MAX,
                }),
                attributes,
                model: full.then(|| ModelRef { name: "m".into(), version: "1".into(), sha256: "00".into() }),
                evidence: full.then_some(Evidence { frames: 3, peak_score: score, stationary_s: h }),
            },
        }
    }

    proptest! {
        #[test]
        fn what_goes_in_comes_out(
            score: f32, numbers: [f32; 4], track: Option<u64>, text in ".{0,60}", full: bool,
        ) {
            prop_assume!(score.is_finite() && numbers.iter().sum::<f32>().is_finite());
            let event = event(score, numbers, track, text, full);
            let parts = encode(&event).unwrap();
            let context: Context = serde_json::from_str(&parts.context).unwrap();
            let back = decode(77, &context, parts.at_ms, &parts.id, parts.body.as_bytes()).unwrap();
            prop_assert_eq!(back, event);
        }

        #[test]
        fn a_body_of_any_bytes_is_survived(bytes: Vec<u8>, id: Vec<u8>, at: i64) {
            let parts = encode(&event(0.5, [0.0; 4], None, "x".into(), false)).unwrap();
            let context: Context = serde_json::from_str(&parts.context).unwrap();
            decode(1, &context, at, &id, &bytes).ok();
        }
    }

    #[test]
    fn an_event_that_was_stored_in_schema_1_is_read_as_one_of_schema_2() {
        let context = r#"{"schema":1,"boot":"00000000010000000000000002","replay":false,"clock_ok":true,"site":"s",
            "node":"n","config_version":3,"time_source":"clock","source":"dock","kind":"sight","phase":"ended",
            "severity":"notice","label":"covered"}"#;
        let body = br#"{"h":"00000000050000000000000005","a":{"duration_s":2.5,"reason":"recovered","edges_gone":0.5}}"#;
        let context: Context = serde_json::from_str(context).unwrap();
        let event = decode(9, &context, 1_790_000_000_123, &[1; 16], body).unwrap();
        assert_eq!((event.schema, event.what.kind, event.clock_synchronized), (2, Kind::Health, true));
        let attributes = serde_json::to_value(&event.what.attributes).unwrap();
        let expected =
            serde_json::json!({"duration_s": 2.5, "edges_missing": 0.5, "end_reason": "recovered"});
        assert_eq!(attributes, expected);
        // It is written in the new form, and read again as it is.
        let parts = encode(&event).unwrap();
        assert!(
            parts.context.contains(r#""clock_synchronized":true"#)
                && parts.context.contains(r#""kind":"health""#)
        );
        let context: Context = serde_json::from_str(&parts.context).unwrap();
        assert_eq!(decode(9, &context, parts.at_ms, &parts.id, parts.body.as_bytes()).unwrap(), event);
    }

    #[test]
    fn numbers_that_are_none_do_not_make_an_event_unreadable() {
        let event = event(f32::NAN, [f32::INFINITY, 0.0, 0.0, f32::NAN], None, "x".into(), true);
        let parts = encode(&event).unwrap();
        let context: Context = serde_json::from_str(&parts.context).unwrap();
        let back = decode(1, &context, parts.at_ms, &parts.id, parts.body.as_bytes()).unwrap();
        assert_eq!((back.what.score, back.what.region), (None, None));
    }

    #[test]
    fn an_event_that_is_too_large_is_refused() {
        let mut event = event(0.5, [0.0; 4], None, "x".into(), false);
        event.what.attributes.insert("blob".into(), "x".repeat(MAX_BODY_BYTES).into());
        assert!(encode(&event).is_err());
    }
}
