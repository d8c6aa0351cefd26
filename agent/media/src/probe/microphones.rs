//! The microphones of this board, read from what ALSA's part of the kernel says of itself: nothing is opened, and no
//! sound server is started.

use std::fs;

use serde::Serialize;

/// A microphone on this board.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MicrophoneReport {
    /// What to write as its source: by the card's name, which stays when numbers change.
    pub source: String,
    /// What the driver calls it.
    pub name: String,
    /// Why it cannot be used now, if so.
    pub problem: Option<String>,
}

/// A device that records.
#[derive(Debug, PartialEq)]
struct Capture {
    card: u32,
    device: u32,
    name: String,
}

pub(super) fn on_this_board() -> Vec<MicrophoneReport> {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let cards = cards(&read("/proc/asound/cards"));
    let report = |capture: Capture| {
        let Capture { card, device, name } = capture;
        let known = cards.iter().find(|(number, ..)| *number == card);
        let id = known.map_or_else(|| card.to_string(), |(_, id, _)| id.clone());
        let name = known.map_or_else(|| name.clone(), |(_, _, long)| format!("{long}, {name}"));
        // The plug for the agent's own microphone reads "in use" too: that is how it is.
        let status = read(&format!("/proc/asound/card{card}/pcm{device}c/sub0/status"));
        let in_use = !status.is_empty() && status.trim() != "closed";
        let problem = in_use.then(|| "in use by a program".to_owned());
        MicrophoneReport { source: format!("alsa:hw:CARD={id},DEV={device}"), name, problem }
    };
    captures(&read("/proc/asound/pcm")).into_iter().map(report).collect()
}

/// Number, id and name of each card: ` 1 [Device         ]: USB-Audio - USB PnP Sound Device`.
fn cards(text: &str) -> Vec<(u32, String, String)> {
    let card = |line: &str| {
        let (number, rest) = line.trim_start().split_once(" [")?;
        let (id, rest) = rest.split_once("]:")?;
        let name = rest.split_once(" - ").map_or(rest, |(_, name)| name);
        Some((number.trim().parse().ok()?, id.trim().to_owned(), name.trim().to_owned()))
    };
    text.lines().filter_map(card).collect()
}

/// The devices that record: `01-00: USB Audio : USB Audio : playback 1 : capture 1`.
fn captures(text: &str) -> Vec<Capture> {
    let capture = |line: &str| {
        let mut parts = line.split(": ").map(str::trim);
        let (card, device) = parts.next()?.split_once('-')?;
        let name = parts.next()?.to_owned();
        line.contains(": capture ").then_some(())?;
        Some(Capture { card: card.parse().ok()?, device: device.parse().ok()?, name })
    };
    text.lines().filter_map(capture).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cards_are_known_by_their_ids_and_only_what_records_is_a_microphone() {
        let cards = cards(
            " 0 [vc4hdmi        ]: vc4-hdmi - vc4-hdmi\n                      vc4-hdmi\n \
             1 [Device         ]: USB-Audio - USB PnP Sound Device\n                      C-Media at usb-1, full speed\n",
        );
        assert_eq!(cards[1], (1, "Device".to_owned(), "USB PnP Sound Device".to_owned()));
        assert_eq!(cards.len(), 2);
        let pcm = "00-00: MAI PCM i2s-hifi-0 : MAI PCM i2s-hifi-0 : playback 1\n\
                   01-00: USB Audio : USB Audio : playback 1 : capture 1\n\
                   02-07: Loopback PCM : Loopback PCM : capture 8\n";
        let found: Vec<_> = captures(pcm).into_iter().map(|c| (c.card, c.device, c.name)).collect();
        assert_eq!(found, [(1, 0, "USB Audio".to_owned()), (2, 7, "Loopback PCM".to_owned())]);
    }

    #[test]
    fn what_is_no_list_has_no_microphones() {
        for text in ["", "--- no soundcards ---\n", ": :", "a-b: capture 1", "1-1"] {
            assert!(cards(text).is_empty() && captures(text).is_empty(), "{text}");
        }
    }
}
