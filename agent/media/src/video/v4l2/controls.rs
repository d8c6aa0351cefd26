//! A camera's controls, exposure, gain, focus and the like, set by the names that the camera itself reports.
//!
//! Owner: the capture thread, at each opening: a camera that was unplugged has forgotten them. Names are compared as
//! `v4l2-ctl -L` shows them: "White Balance, Automatic" is `white_balance_automatic`.

use std::panic::{AssertUnwindSafe, catch_unwind};

use aimass_core::traits::SourceErrorKind;

use crate::video::controls::{ControlValue, Controls};

/// The name of a control as `v4l2-ctl` shows it: small letters and digits, all else one underscore.
pub(crate) fn plain_name(name: &str) -> String {
    let mut plain = String::with_capacity(name.len());
    for c in name.chars() {
        if c.is_ascii_alphanumeric() {
            plain.push(c.to_ascii_lowercase());
        } else if !plain.is_empty() && !plain.ends_with('_') {
            plain.push('_');
        }
    }
    plain.trim_end_matches('_').to_owned()
}

/// How a control is set.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Kind {
    Switch,
    Number {
        least: i64,
        most: i64,
        step: u64,
    },
    /// Entries by their numbers.
    Menu(Vec<(i64, String)>),
}

/// A control that can be set.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Control {
    pub(super) id: u32,
    pub(super) name: String,
    pub(super) kind: Kind,
    pub(super) default: i64,
}

impl Control {
    /// For people: what it takes.
    pub(crate) fn shown(&self) -> String {
        let name = &self.name;
        match &self.kind {
            Kind::Switch => format!("{name} (true or false)"),
            Kind::Number { least, most, step: 0 | 1 } => format!("{name} ({least}..{most})"),
            Kind::Number { least, most, step } => format!("{name} ({least}..{most} in steps of {step})"),
            Kind::Menu(entries) => {
                let entries: Vec<String> = entries.iter().map(|(n, entry)| format!("{n} {entry}")).collect();
                format!("{name} ({})", entries.join(", "))
            }
        }
    }

    fn number_of(&self, value: ControlValue) -> Result<i64, String> {
        let fits = match (&self.kind, value) {
            (Kind::Switch, ControlValue::Switch(on)) => Some(i64::from(on)),
            (Kind::Switch, ControlValue::Number(n @ (0 | 1))) => Some(n),
            (Kind::Number { least, most, step }, ControlValue::Number(n)) => {
                let in_step = step.max(&1) == &1 || (n - least) % i64::try_from(*step).unwrap_or(1) == 0;
                ((least..=most).contains(&&n) && in_step).then_some(n)
            }
            (Kind::Menu(entries), ControlValue::Number(n)) => {
                entries.iter().any(|(e, _)| *e == n).then_some(n)
            }
            _ => None,
        };
        fits.ok_or_else(|| {
            let value = match value {
                ControlValue::Switch(on) => on.to_string(),
                ControlValue::Number(n) => n.to_string(),
            };
            format!("controls.{}: {value} cannot be set: it takes {}", self.name, self.shown())
        })
    }
}

/// What is to be set, in an order that works: switches and menus (automatic or by hand) come before numbers, which
/// cameras take only by hand.
///
/// # Errors
/// A name that the camera does not have, with those that it has; a value that does not fit, with those that do.
pub(super) fn resolve<'a>(has: &'a [Control], wanted: &Controls) -> Result<Vec<(&'a Control, i64)>, String> {
    let mut settings = Vec::with_capacity(wanted.len());
    for (name, value) in wanted {
        let plain = plain_name(name);
        let control = has.iter().find(|c| c.name == plain).ok_or_else(|| {
            let known: Vec<String> = has.iter().map(Control::shown).collect();
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            format!("controls.{name} is not known to the camera; it has {known}")
        })?;
        settings.push((control, control.number_of(*value)?));
    }
    settings.sort_by_key(|(control, _)| matches!(control.kind, Kind::Number { .. }));
    Ok(settings)
}

/// The controls that can be set by a number or a switch.
pub(crate) fn of_device(device: &v4l::Device) -> Result<Vec<Control>, super::Problem> {
    // The library panics over kinds of controls that it does not know. Cameras rarely have any; codecs do.
    let asked = catch_unwind(AssertUnwindSafe(|| device.query_controls()));
    let asked = asked
        .map_err(|_| (SourceErrorKind::Config, "the camera has a control of an unknown kind".to_owned()))?;
    let descriptions = match asked {
        Ok(descriptions) => descriptions,
        // EINVAL, ENOTTY: it has none.
        Err(error) if matches!(error.raw_os_error(), Some(22 | 25)) => Vec::new(),
        Err(error) => {
            let text = format!("does not tell its controls ({error}): check the cable");
            return Err((SourceErrorKind::Unavailable, text));
        }
    };
    Ok(descriptions.into_iter().filter_map(control).collect())
}

fn control(description: v4l::control::Description) -> Option<Control> {
    use v4l::control::{Flags, MenuItem, Type};
    if description.flags.intersects(Flags::DISABLED | Flags::READ_ONLY) {
        return None;
    }
    let kind = match description.typ {
        Type::Boolean => Kind::Switch,
        Type::Integer | Type::Integer64 if !description.flags.contains(Flags::HAS_PAYLOAD) => {
            Kind::Number { least: description.minimum, most: description.maximum, step: description.step }
        }
        Type::Menu | Type::IntegerMenu => {
            let entry = |(n, item): (u32, MenuItem)| (i64::from(n), item.to_string());
            Kind::Menu(description.items.unwrap_or_default().into_iter().map(entry).collect())
        }
        _ => return None,
    };
    let name = plain_name(&description.name);
    Some(Control { id: description.id, name, kind, default: description.default })
}

/// Sets the controls.
pub(super) fn apply(device: &v4l::Device, wanted: &Controls) -> Result<(), super::Problem> {
    if wanted.is_empty() {
        return Ok(());
    }
    let has = of_device(device)?;
    for (control, number) in resolve(&has, wanted).map_err(|e| (SourceErrorKind::Config, e))? {
        let value = match control.kind {
            Kind::Switch => v4l::control::Value::Boolean(number != 0),
            _ => v4l::control::Value::Integer(number),
        };
        device.set_control(v4l::Control { id: control.id, value }).map_err(|e| {
            let text = format!(
                "controls.{} cannot be set to {number} ({e}): the camera may do it by itself (an automatic that is on)",
                control.name
            );
            (SourceErrorKind::Unavailable, text)
        })?;
    }
    Ok(())
}
