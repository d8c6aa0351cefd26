//! Memory that ends where a page begins that nobody may touch: an element read or written beyond the end ends the test.

use std::ops::{Deref, DerefMut};

use aimass_kernels::Element;
use rustix::mm::{MapFlags, MprotectFlags, ProtFlags, mmap_anonymous, mprotect, munmap};

/// Elements whose last one is followed by such a page.
pub(crate) struct Guarded<T> {
    map: *mut std::ffi::c_void,
    size: usize,
    first: *mut T,
    length: usize,
}

/// At least that of every machine that runs the tests.
const PAGE: usize = 65536;

impl<T: Element> Guarded<T> {
    pub(crate) fn new(elements: &[T]) -> Self {
        let bytes = size_of_val(elements);
        let size = bytes.next_multiple_of(PAGE) + PAGE;
        // SAFETY: new memory, of which the last page is closed; `bytes` before that page are open, and aligned because
        // both the page and the elements' size are multiples of it.
        unsafe {
            let flags = ProtFlags::READ | ProtFlags::WRITE;
            let map = mmap_anonymous(std::ptr::null_mut(), size, flags, MapFlags::PRIVATE).unwrap();
            mprotect(map.byte_add(size - PAGE), PAGE, MprotectFlags::empty()).unwrap();
            let first: *mut T = map.byte_add(size - PAGE - bytes).cast();
            first.copy_from_nonoverlapping(elements.as_ptr(), elements.len());
            Self { map, size, first, length: elements.len() }
        }
    }
}

impl<T> Deref for Guarded<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: `new` wrote all of them, and the map lives as long as this.
        unsafe { std::slice::from_raw_parts(self.first, self.length) }
    }
}

impl<T> DerefMut for Guarded<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as in `deref`; borrowed mutably.
        unsafe { std::slice::from_raw_parts_mut(self.first, self.length) }
    }
}

impl<T> Drop for Guarded<T> {
    fn drop(&mut self) {
        // SAFETY: the map of `new`, which nobody uses any more.
        unsafe { munmap(self.map, self.size) }.unwrap();
    }
}
