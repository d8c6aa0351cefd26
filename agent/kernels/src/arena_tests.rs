use super::*;
use crate::image::Padding;

#[test]
fn inputs_beside_the_output_can_be_read_and_the_output_cannot() {
    let mut arena = Arena::new(256);
    let (first, second) =
        (Image::dense(0, 2, 2, 4, Padding::default()), Image::dense(16, 2, 2, 4, Padding::default()));
    let third = Image::dense(8, 2, 2, 2, Padding::default()); // f32: bytes 32..64
    arena.writing::<u8>(&first).unwrap().1.row(0).fill(7);
    let (inputs, mut output) = arena.writing::<f32>(&third).unwrap();
    assert_eq!(inputs.view::<u8>(&first).unwrap().pixel(0, 1), [7; 4]);
    assert!(inputs.view::<u8>(&second).is_ok());
    assert!(inputs.view::<u8>(&Image::dense(30, 1, 1, 4, Padding::default())).is_err());
    assert!(inputs.view::<u8>(&Image::dense(63, 1, 1, 1, Padding::default())).is_err());
    assert!(inputs.view::<u8>(&Image::dense(64, 1, 1, 192, Padding::default())).is_ok());
    assert!(inputs.view::<u8>(&Image::dense(64, 1, 1, 193, Padding::default())).is_err());
    output.row(1).fill(1.5);
    let (inputs, _) = arena.writing::<u8>(&Image::dense(5, 1, 1, 3, Padding::default())).unwrap();
    assert!(inputs.view::<f32>(&Image::dense(1, 1, 1, 1, Padding::default())).is_err());
    assert_eq!(inputs.view::<f32>(&third).unwrap().pixel(1, 1), [1.5, 1.5]);
}

#[test]
fn filling_a_halo_leaves_the_image_and_its_neighbours_alone() {
    let mut arena = Arena::new(1024);
    let wide = Image::dense(10, 3, 2, 5, Padding { top: 1, left: 2, bottom: 1, right: 1 });
    let slice = wide.channel_slice(1, 2);
    arena.fill_padding(&slice, 9_u8).unwrap();
    let nines = arena.bytes().iter().filter(|byte| **byte == 9).count();
    assert_eq!(nines, (5 * 5 - 3 * 2) * 2);
    let view = arena.view::<u8>(&wide).unwrap();
    assert_eq!(view.pixel(-1, -2), [0, 9, 9, 0, 0]);
    assert_eq!(view.pixel(3, 2), [0, 9, 9, 0, 0]);
    assert_eq!(view.pixel(1, 1), [0; 5]);
    arena.fill_padding(&wide, 3_u8).unwrap();
    assert_eq!(arena.bytes().iter().filter(|byte| **byte == 3).count(), (5 * 5 - 3 * 2) * 5);
}

#[test]
fn moved_rows_take_what_lies_beside_them_along_and_leave_others_alone() {
    let mut arena = Arena::new(1024);
    let image = Image::dense(7, 5, 2, 3, Padding { top: 1, left: 1, bottom: 0, right: 2 });
    arena.fill_padding(&image, 9_u8).unwrap();
    for y in 0..5 {
        arena.writing::<u8>(&image).unwrap().1.row(y).fill(y as u8);
    }
    let before = arena.bytes().to_vec();
    arena.move_rows::<u8>(&image, 2..5).unwrap();
    let view = arena.view::<u8>(&image).unwrap();
    let rows: Vec<u8> = (0..5).map(|y| view.pixel(y, 1)[2]).collect();
    assert_eq!(rows, [2, 3, 4, 3, 4]);
    for y in 0..5 {
        assert_eq!([view.pixel(y, -1), view.pixel(y, 3)], [[9; 3]; 2], "row {y}");
    }
    let extent = image.extent().unwrap();
    assert!(arena.bytes()[..extent.start] == before[..extent.start]);
    assert!(arena.bytes()[extent.end..] == before[extent.end..]);
    arena.move_rows::<u8>(&image, 5..5).unwrap();
    assert!(arena.move_rows::<u8>(&image, 3..6).is_err());
    assert!(arena.move_rows::<u8>(&image.channel_slice(0, 2), 1..2).is_err());
    assert!(arena.move_rows::<f32>(&Image { offset: 240, ..image }, 1..2).is_err());
}

#[test]
fn images_outside_of_the_arena_are_refused() {
    let mut arena = Arena::new(64);
    let large = Image::dense(0, 1, 1, 65, Padding::default());
    assert!(arena.view::<u8>(&large).is_err());
    assert!(arena.writing::<u8>(&large).is_err());
    assert!(arena.fill_padding(&large, 0_u8).is_err());
    assert!(arena.writing::<f32>(&Image::dense(0, 1, 1, 17, Padding::default())).is_err());
}
