//! Memory that this process no longer needs to have at hand.

/// The mapping of this program's own instructions.
#[derive(Debug, Clone, Copy)]
pub struct Code {
    start: usize,
    length: usize,
}

impl Code {
    /// Looks it up in /proc/self/maps: the executable mapping that this very function lies in.
    pub fn find() -> Option<Code> {
        let here = Code::find as fn() -> Option<Code> as usize;
        let maps = crate::sys::text::read("/proc/self/maps").ok()?;
        maps.lines().find_map(|line| {
            let (range, rest) = line.split_once(' ')?;
            let (start, end) = range.split_once('-')?;
            let (start, end) = (usize::from_str_radix(start, 16).ok()?, usize::from_str_radix(end, 16).ok()?);
            let ours = rest.starts_with("r-xp") && (start..end).contains(&here);
            ours.then_some(Code { start, length: end - start })
        })
    }

    /// Unmaps its pages: what is used again is mapped again from the page cache, the rest (everything that only ran
    /// once, at the start) no longer counts as ours.
    pub fn let_go(self) {
        // SAFETY: a private mapping of a file that is never written to: the pages come back with the same content
        // (madvise(2), MADV_DONTNEED). A failure leaves them where they are.
        unsafe { libc::madvise(self.start as *mut libc::c_void, self.length, libc::MADV_DONTNEED) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_code_goes_on_after_it_was_let_go() {
        let code = Code::find().unwrap();
        code.let_go();
        assert_eq!(Code::find().unwrap().length, code.length);
    }
}
