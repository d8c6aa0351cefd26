//! Still pictures: one JPEG or PNG, or a folder of them by name.
//!
//! Owner: the caller. Invariant: a bad file costs its own line and nothing else, whatever its header claims.

use std::fs;
use std::io::Cursor;
use std::path::{Path, PathBuf};

use aimass_core::frame::Picture;
use aimass_core::traits::{SourceError, SourceErrorKind};
use image::{DynamicImage, ImageDecoder, ImageError, ImageReader, Limits};

const EXTENSIONS: [&str; 3] = ["jpg", "jpeg", "png"];

/// The largest file that is read, in bytes.
const MAX_FILE_BYTES: u64 = 128 << 20;

/// The most memory that one picture may take while it is decoded, in bytes: about 80 megapixels.
const MAX_PICTURE_BYTES: u64 = 256 << 20;

/// Whether the path looks like a still by its name.
pub fn is_still(path: &Path) -> bool {
    path.extension()
        .and_then(|e| e.to_str())
        .is_some_and(|e| EXTENSIONS.iter().any(|known| known.eq_ignore_ascii_case(e)))
}

/// Stills in the order of their names: yields the file name and its picture, or why there is none.
#[derive(Debug)]
pub struct Stills {
    files: std::vec::IntoIter<PathBuf>,
}

impl Stills {
    /// One picture, or all `.jpg`, `.jpeg` and `.png` files directly in a folder (not those whose name begins
    /// with a dot).
    ///
    /// # Errors
    /// The path is not there or cannot be listed, or a folder without stills.
    pub fn open(path: &Path) -> Result<Self, SourceError> {
        let shown = path.display();
        let unreadable = |error: std::io::Error| {
            let kind = match error.kind() {
                std::io::ErrorKind::NotFound => SourceErrorKind::NotFound,
                _ => SourceErrorKind::Unavailable,
            };
            SourceError::new(
                kind,
                format!("{shown} cannot be read ({error}): check the path and its permissions"),
            )
        };
        if !fs::metadata(path).map_err(unreadable)?.is_dir() {
            return Ok(Stills { files: vec![path.to_owned()].into_iter() });
        }
        let mut files = Vec::new();
        for entry in fs::read_dir(path).map_err(unreadable)? {
            let file = entry.map_err(unreadable)?.path();
            let hidden = file.file_name().is_some_and(|n| n.to_string_lossy().starts_with('.'));
            if !hidden && is_still(&file) && !file.is_dir() {
                files.push(file);
            }
        }
        if files.is_empty() {
            let text = format!("{shown} holds no stills: give a folder with .jpg, .jpeg or .png files");
            return Err(SourceError::new(SourceErrorKind::NotFound, text));
        }
        files.sort();
        Ok(Stills { files: files.into_iter() })
    }
}

impl Iterator for Stills {
    type Item = (String, Result<Picture, SourceError>);

    fn next(&mut self) -> Option<Self::Item> {
        let file = self.files.next()?;
        let name = file.file_name().unwrap_or(file.as_os_str()).to_string_lossy().into_owned();
        Some((name, load(&file)))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.files.size_hint()
    }
}

impl ExactSizeIterator for Stills {}

/// Reads one still as RGB, upright by its EXIF orientation.
///
/// # Errors
/// One line that names the file: not there, empty, cut off, too large, or no picture.
pub fn load(path: &Path) -> Result<Picture, SourceError> {
    let fail = |kind, text: String| Err(SourceError::new(kind, format!("{}: {text}", path.display())));
    let about = match fs::metadata(path) {
        Ok(about) => about,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            return fail(SourceErrorKind::NotFound, "there is no such file: check the path".into());
        }
        Err(e) => return fail(SourceErrorKind::Unavailable, format!("cannot be read ({e})")),
    };
    if !about.is_file() {
        return fail(SourceErrorKind::NotMedia, "is not a file".into());
    }
    if about.len() == 0 {
        return fail(SourceErrorKind::NotMedia, "the file is empty (0 bytes): copy it again".into());
    }
    if about.len() > MAX_FILE_BYTES {
        let text = format!("is too large ({} MiB): at most {} MiB", about.len() >> 20, MAX_FILE_BYTES >> 20);
        return fail(SourceErrorKind::NotMedia, text);
    }
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(e) => return fail(SourceErrorKind::Unavailable, format!("cannot be read ({e})")),
    };
    decode(&bytes).or_else(|text| fail(SourceErrorKind::NotMedia, text))
}

/// A picture from the bytes of a JPEG or PNG file, or why there is none.
fn decode(bytes: &[u8]) -> Result<Picture, String> {
    // The decoder fills what is missing with gray; nobody wants findings in that.
    if is_cut_off_jpeg(bytes) {
        return Err("the picture is cut off: copy it again".into());
    }
    let reader = ImageReader::new(Cursor::new(bytes)).with_guessed_format().map_err(|e| e.to_string())?;
    if reader.format().is_none() {
        return Err("is neither JPEG nor PNG".into());
    }
    let mut limits = Limits::default();
    limits.max_image_width = Some(Picture::MAX_SIDE);
    limits.max_image_height = Some(Picture::MAX_SIDE);
    limits.max_alloc = Some(MAX_PICTURE_BYTES);
    let mut decoder = reader.into_decoder().map_err(explain)?;
    decoder.set_limits(limits).map_err(explain)?;
    if decoder.total_bytes() > MAX_PICTURE_BYTES {
        let (w, h) = decoder.dimensions();
        return Err(format!("the picture is too large ({w}x{h})"));
    }
    let orientation = decoder.orientation().map_err(explain)?;
    let mut picture = DynamicImage::from_decoder(decoder).map_err(explain)?;
    picture.apply_orientation(orientation);
    let rgb = picture.into_rgb8();
    Picture::from_rgb(rgb.dimensions(), rgb.into_raw()).map_err(|e| e.to_string())
}

/// Whether the bytes are a JPEG whose picture data does not come to its end marker.
fn is_cut_off_jpeg(bytes: &[u8]) -> bool {
    let last = |marker: u8| bytes.windows(2).rposition(|pair| pair == [0xff, marker]);
    // A thumbnail has its own end, but lies before the last start of scan.
    bytes.starts_with(&[0xff, 0xd8]) && last(0xd9).unwrap_or(0) < last(0xda).unwrap_or(0)
}

fn explain(error: ImageError) -> String {
    match error {
        ImageError::Limits(_) => {
            format!("the picture is too large: at most {0}x{0} and 80 megapixels", Picture::MAX_SIDE)
        }
        ImageError::Unsupported(_) => "is neither JPEG nor PNG".into(),
        ImageError::IoError(_) => "the picture is cut off: copy it again".into(),
        other if other.to_string().contains("Not enough bytes") => {
            "the picture is cut off: copy it again".into()
        }
        other => {
            let line = other.to_string().split_whitespace().collect::<Vec<_>>().join(" ");
            format!("the picture is damaged ({line})")
        }
    }
}

#[cfg(test)]
mod tests {
    use image::{ImageFormat, Rgb, RgbImage};
    use proptest::prelude::*;

    use super::*;

    fn encoded(format: ImageFormat) -> Vec<u8> {
        let picture =
            RgbImage::from_fn(64, 48, |x, _| if x < 32 { Rgb([250, 0, 0]) } else { Rgb([0, 0, 250]) });
        let mut bytes = Cursor::new(Vec::new());
        picture.write_to(&mut bytes, format).unwrap();
        bytes.into_inner()
    }

    /// An EXIF block that says: turn by 90 degrees clockwise.
    fn turned(jpeg: &[u8]) -> Vec<u8> {
        let tiff = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0";
        let mut bytes = jpeg[..2].to_vec();
        bytes.extend([0xff, 0xe1, 0, tiff.len() as u8 + 2]);
        bytes.extend(tiff);
        bytes.extend(&jpeg[2..]);
        bytes
    }

    fn put(folder: &Path, name: &str, bytes: &[u8]) {
        aimass_core::runtime::files::write_atomically(&folder.join(name), bytes).unwrap();
    }

    #[test]
    fn a_folder_is_read_by_name_and_bad_files_cost_one_line_each() {
        let folder = tempfile::tempdir().unwrap();
        let (jpeg, png) = (encoded(ImageFormat::Jpeg), encoded(ImageFormat::Png));
        let mut huge = png.clone();
        huge[16..24].copy_from_slice(&[0, 1, 0, 0, 0, 1, 0, 0]);
        let crc = crc32(&huge[12..29]);
        huge[29..33].copy_from_slice(&crc.to_be_bytes());
        for (name, bytes) in [
            ("b.PNG", &png[..]),
            ("a.jpg", &jpeg),
            ("c-empty.jpg", b""),
            ("d-cut.jpg", &jpeg[..jpeg.len() * 2 / 3]),
            ("e-cut.png", &png[..png.len() / 2]),
            ("f-text.jpg", b"this is no picture"),
            ("g-huge.png", &huge),
            ("h-turned.jpeg", &turned(&jpeg)),
            ("notes.txt", b"not listed"),
        ] {
            put(folder.path(), name, bytes);
        }
        let read: Vec<_> = Stills::open(folder.path()).unwrap().collect();
        let names: Vec<&str> = read.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(
            names,
            [
                "a.jpg",
                "b.PNG",
                "c-empty.jpg",
                "d-cut.jpg",
                "e-cut.png",
                "f-text.jpg",
                "g-huge.png",
                "h-turned.jpeg"
            ]
        );
        for good in [0, 1] {
            let picture = read[good].1.as_ref().unwrap();
            assert_eq!((picture.width(), picture.height()), (64, 48));
        }
        for (bad, says) in
            [(2, "empty (0 bytes)"), (3, "cut off"), (4, "cut off"), (5, "neither"), (6, "too large")]
        {
            let error = read[bad].1.as_ref().unwrap_err();
            assert_eq!(error.kind, SourceErrorKind::NotMedia);
            assert!(error.message.contains(says) && error.message.contains(names[bad]), "{error}");
            assert!(!error.message.contains('\n'));
        }
        let upright = read[7].1.as_ref().unwrap();
        assert_eq!((upright.width(), upright.height()), (48, 64));
        let (top, bottom) = (upright.plane(0).row(4)[0], upright.plane(0).row(60)[0]);
        assert!(top > 200 && bottom < 50, "red was left, and is up after the turn: {top} {bottom}");
    }

    #[test]
    fn what_is_not_there_or_holds_nothing_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let missing = Stills::open(&folder.path().join("x")).unwrap_err();
        assert_eq!(missing.kind, SourceErrorKind::NotFound);
        assert!(Stills::open(folder.path()).unwrap_err().message.contains("holds no stills"));
        assert_eq!(load(&folder.path().join("x.jpg")).unwrap_err().kind, SourceErrorKind::NotFound);
    }

    /// As PNG wants it.
    fn crc32(bytes: &[u8]) -> u32 {
        !bytes.iter().fold(!0u32, |crc, &byte| {
            (0..8).fold(crc ^ u32::from(byte), |c, _| if c & 1 == 1 { c >> 1 ^ 0xedb8_8320 } else { c >> 1 })
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, cases: 64, ..ProptestConfig::default() })]

        #[test]
        fn damaged_bytes_never_panic(
            png: bool, cut in 0usize..2000, flips in prop::collection::vec((0usize..2000, any::<u8>()), 0..8)
        ) {
            let mut bytes = encoded(if png { ImageFormat::Png } else { ImageFormat::Jpeg });
            bytes.truncate(cut.max(1));
            for (at, value) in flips {
                let at = at % bytes.len();
                bytes[at] = value;
            }
            drop(decode(&bytes));
        }
    }
}
