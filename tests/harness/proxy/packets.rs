//! Streams followed packet by packet, cut anywhere: MQTT, and RTSP with its pictures in between.

/// Follows MQTT packets through a byte stream.
#[derive(Debug, Default)]
pub(super) struct PacketFilter {
    header: Vec<u8>,
    left: usize,
    dropping: bool,
}

impl PacketFilter {
    /// Appends what is to be kept; returns how many PUBACKs began and are dropped.
    pub(super) fn filter(&mut self, mut bytes: &[u8], drop_pubacks: bool, kept: &mut Vec<u8>) -> u64 {
        let mut dropped = 0;
        while let Some((&first, rest)) = bytes.split_first() {
            if self.left > 0 {
                let n = self.left.min(bytes.len());
                if !self.dropping {
                    kept.extend_from_slice(&bytes[..n]);
                }
                self.left -= n;
                bytes = &bytes[n..];
                continue;
            }
            self.header.push(first);
            bytes = rest;
            let length_ends = self.header.len() > 1 && (first & 0x80 == 0 || self.header.len() == 5);
            if length_ends {
                let digits = self.header[1..].iter().enumerate();
                self.left = digits.map(|(i, b)| usize::from(b & 0x7f) << (7 * i)).sum();
                self.dropping = drop_pubacks && self.header[0] >> 4 == 4;
                dropped += u64::from(self.dropping);
                if !self.dropping {
                    kept.extend_from_slice(&self.header);
                }
                self.header.clear();
            }
        }
        dropped
    }
}

/// What becomes of a camera's pictures on their way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Pictures {
    /// They pass.
    #[default]
    Pass,
    /// They vanish; what camera and viewer say to each other passes.
    Vanish,
    /// Their bytes are turned round, behind the RTP header.
    Garbled,
}

/// Follows RTSP with interleaved pictures (`$`, channel, length) from the camera to the viewer.
#[derive(Debug, Default)]
pub(super) struct PictureFilter {
    header: Vec<u8>,
    text: Vec<u8>,
    left: usize,
    at: usize,
    in_picture: bool,
}

/// Bytes at the head of a picture's packet that are never garbled: the viewer would not know it for one.
const RTP_HEADER: usize = 12;

impl PictureFilter {
    /// Appends what is to go on.
    pub(super) fn filter(&mut self, bytes: &[u8], what: Pictures, kept: &mut Vec<u8>) {
        for &byte in bytes {
            if self.left > 0 {
                self.left -= 1;
                self.at += 1;
                match (self.in_picture, what) {
                    (true, Pictures::Vanish) => {}
                    (true, Pictures::Garbled) if self.at > RTP_HEADER => kept.push(byte ^ 0x5a),
                    _ => kept.push(byte),
                }
            } else if !self.header.is_empty() || (self.text.is_empty() && byte == b'$') {
                self.header.push(byte);
                if self.header.len() == 4 {
                    self.left = usize::from(self.header[2]) << 8 | usize::from(self.header[3]);
                    (self.at, self.in_picture) = (0, true);
                    if what != Pictures::Vanish {
                        kept.extend_from_slice(&self.header);
                    }
                    self.header.clear();
                }
            } else {
                kept.push(byte);
                self.text.push(byte);
                if self.text.ends_with(b"\r\n\r\n") {
                    (self.left, self.in_picture) = (content_length(&self.text), false);
                    self.text.clear();
                }
            }
        }
    }
}

fn content_length(head: &[u8]) -> usize {
    let head = String::from_utf8_lossy(head).to_ascii_lowercase();
    let line = head.lines().find_map(|line| line.strip_prefix("content-length:"));
    line.and_then(|value| value.trim().parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_pubacks_vanish_wherever_the_stream_is_cut() {
        let publish = [vec![0x32, 0xc8, 0x01], vec![0x40; 200]].concat();
        let puback = vec![0x40, 0x02, 0x00, 0x07];
        let pingresp = vec![0xd0, 0x00];
        let stream = [publish.clone(), puback.clone(), pingresp.clone(), puback, publish.clone()].concat();
        let wanted = [publish.clone(), pingresp, publish].concat();
        for portion in 1..stream.len() {
            let (mut filter, mut kept, mut dropped) = (PacketFilter::default(), Vec::new(), 0);
            for bytes in stream.chunks(portion) {
                dropped += filter.filter(bytes, true, &mut kept);
            }
            assert_eq!((dropped, &kept), (2, &wanted), "portions of {portion}");
        }
        let mut all = Vec::new();
        assert_eq!(PacketFilter::default().filter(&stream, false, &mut all), 0);
        assert_eq!(all, stream);
    }

    #[test]
    fn only_pictures_vanish_and_answers_with_a_dollar_in_them_pass() {
        let answer = b"RTSP/1.0 200 OK\r\nContent-Length: 5\r\n\r\na$\0\0b".to_vec();
        let picture = [vec![b'$', 0, 0, 20], (0..20).collect()].concat();
        let stream = [answer.clone(), picture.clone(), picture.clone(), answer.clone()].concat();
        for portion in 1..stream.len() {
            let through = |what| {
                let (mut filter, mut kept) = (PictureFilter::default(), Vec::new());
                stream.chunks(portion).for_each(|bytes| filter.filter(bytes, what, &mut kept));
                kept
            };
            assert_eq!(through(Pictures::Pass), stream);
            assert_eq!(through(Pictures::Vanish), [answer.clone(), answer.clone()].concat());
            let garbled = through(Pictures::Garbled);
            assert_eq!(garbled.len(), stream.len());
            let changed = garbled.iter().zip(&stream).filter(|(a, b)| a != b).count();
            assert_eq!(changed, 2 * (20 - RTP_HEADER));
        }
    }
}
