//! Writes JSON straight from rows, without a tree in between: a cluster's state is megabytes, and each of them would be
//! made twice.
//!
//! Numbers that Mesos has as doubles have a fraction, always (`2.0`): there are tools in typed languages that expect it.

use proffer_proto::mesos::value_of;
use serde_json::to_writer;

/// An object that is being written.
pub(super) struct Object<'o> {
    out: &'o mut Vec<u8>,
    is_begun: bool,
}

/// An array that is being written.
pub(super) struct Array<'o> {
    out: &'o mut Vec<u8>,
    is_begun: bool,
}

/// A page of one object.
pub(super) fn page(capacity: usize, write: impl FnOnce(&mut Object<'_>)) -> Vec<u8> {
    let mut out = Vec::with_capacity(capacity);
    object(&mut out, write);
    out
}

fn object(out: &mut Vec<u8>, write: impl FnOnce(&mut Object<'_>)) {
    out.push(b'{');
    let is_begun = false;
    write(&mut Object { out, is_begun });
    out.push(b'}');
}

fn array(out: &mut Vec<u8>, write: impl FnOnce(&mut Array<'_>)) {
    out.push(b'[');
    let is_begun = false;
    write(&mut Array { out, is_begun });
    out.push(b']');
}

fn text(out: &mut Vec<u8>, text: &str) {
    // Memory takes all, and text has always a JSON form.
    let _ = to_writer(out, text);
}

impl Object<'_> {
    fn name(&mut self, name: &str) -> &mut Vec<u8> {
        if self.is_begun {
            self.out.push(b',');
        }
        self.is_begun = true;
        text(self.out, name);
        self.out.push(b':');
        self.out
    }

    /// Text.
    pub(super) fn text(&mut self, name: &str, value: &str) {
        text(self.name(name), value);
    }

    /// A double.
    pub(super) fn number(&mut self, name: &str, value: f64) {
        let _ = to_writer(self.name(name), &value);
    }

    /// Thousandths, as a double.
    pub(super) fn milli(&mut self, name: &str, milli: u64) {
        self.number(name, value_of(milli));
    }

    /// A whole number.
    pub(super) fn count(&mut self, name: &str, value: u64) {
        let _ = to_writer(self.name(name), &value);
    }

    /// Yes or no.
    pub(super) fn flag(&mut self, name: &str, value: bool) {
        let _ = to_writer(self.name(name), &value);
    }

    /// What is JSON already.
    pub(super) fn raw(&mut self, name: &str, value: &[u8]) {
        self.name(name).extend_from_slice(value);
    }

    /// An object.
    pub(super) fn object(&mut self, name: &str, write: impl FnOnce(&mut Object<'_>)) {
        object(self.name(name), write);
    }

    /// An array.
    pub(super) fn array(&mut self, name: &str, write: impl FnOnce(&mut Array<'_>)) {
        array(self.name(name), write);
    }
}

impl Array<'_> {
    fn next(&mut self) -> &mut Vec<u8> {
        if self.is_begun {
            self.out.push(b',');
        }
        self.is_begun = true;
        self.out
    }

    /// Text.
    pub(super) fn text(&mut self, value: &str) {
        text(self.next(), value);
    }

    /// What is JSON already.
    pub(super) fn raw(&mut self, value: &[u8]) {
        self.next().extend_from_slice(value);
    }

    /// An object.
    pub(super) fn object(&mut self, write: impl FnOnce(&mut Object<'_>)) {
        object(self.next(), write);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_compact_and_its_numbers_are_doubles() {
        let page = page(0, |page| {
            page.number("n", 2.0);
            page.milli("m", 1_500);
            page.count("c", 2);
            page.object("o", |o| o.flag("f", true));
            page.object("e", |_| {});
            page.raw("r", b"{}");
            page.array("a", |a| {
                a.text("x\"\n");
                a.object(|_| {});
                a.raw(b"1");
            });
        });
        let expected = r#"{"n":2.0,"m":1.5,"c":2,"o":{"f":true},"e":{},"r":{},"a":["x\"\n",{},1]}"#;
        assert_eq!(String::from_utf8(page).expect("text"), expected);
    }
}
