use super::*;
use crate::image::Padding;

#[test]
fn rows_are_split_without_overlap_and_without_loss() {
    let image = Image::dense(0, 7, 3, 2, Padding { top: 1, left: 1, bottom: 1, right: 1 });
    let mut memory = vec![0_u8; image.footprint()];
    let mut views = ViewMut::new(&mut memory, &image).unwrap().split_rows(3);
    assert_eq!(views.iter().map(ViewMut::rows).collect::<Vec<_>>(), [0..2, 2..4, 4..7]);
    for view in &mut views {
        for y in view.rows() {
            view.row(y).fill(y as u8 + 1);
        }
    }
    let view = View::new(&memory, &image).unwrap();
    for y in 0..7 {
        assert_eq!(view.row(y as usize), [y as u8 + 1; 6]);
        assert_eq!((view.pixel(y, -1), view.pixel(y, 3)), (&[0, 0][..], &[0, 0][..]));
    }
    assert_eq!((view.pixel(-1, 0), view.pixel(7, 2)), (&[0, 0][..], &[0, 0][..]));
}

#[test]
fn more_parts_than_rows_are_as_many_as_rows() {
    let image = Image::dense(0, 2, 1, 1, Padding::default());
    let mut memory = [0_u8; 2];
    assert_eq!(ViewMut::new(&mut memory, &image).unwrap().split_rows(5).len(), 2);
}

#[test]
fn an_image_outside_of_its_memory_is_refused() {
    let image = Image::dense(0, 2, 2, 3, Padding { top: 0, left: 0, bottom: 1, right: 0 });
    assert!(View::new(&[0_u8; 18], &image).is_ok());
    assert!(View::new(&[0_u8; 17], &image).is_err());
    for broken in [
        Image { offset: usize::MAX, ..image },
        Image { row_stride: 5, ..image },
        Image { pixel_stride: 2, ..image },
        Image { height: 0, ..image },
        Image { padding: Padding { top: 1, ..image.padding }, ..image },
        Image { row_stride: usize::MAX / 2, ..image },
        Image { padding: Padding { left: usize::MAX, ..image.padding }, ..image },
    ] {
        assert!(View::new(&[0_u8; 64], &broken).is_err(), "{broken:?}");
    }
}
