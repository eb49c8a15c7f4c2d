//! Connections by number. A number is given again, but not with the same generation.

use std::convert::TryFrom;

/// Names a connection, also after it has gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Token {
    number: u32,
    generation: u32,
}

impl Token {
    /// Returns the token as epoll carries it.
    pub(crate) fn to_u64(self) -> u64 {
        u64::from(self.generation) << 32 | u64::from(self.number)
    }

    /// Returns the token that epoll carried.
    pub(crate) fn from_u64(bits: u64) -> Token {
        Token { number: bits as u32, generation: (bits >> 32) as u32 }
    }
}

struct Slot<T> {
    generation: u32,
    content: Option<T>,
}

/// What there is of each connection.
pub(crate) struct Slots<T> {
    all: Vec<Slot<T>>,
    free: Vec<u32>,
}

impl<T> Slots<T> {
    pub(crate) fn new() -> Slots<T> {
        Slots { all: Vec::new(), free: Vec::new() }
    }

    pub(crate) fn len(&self) -> usize {
        self.all.len() - self.free.len()
    }

    /// Puts what `make` returns for the new token.
    pub(crate) fn put(&mut self, make: impl FnOnce(Token) -> T) -> Token {
        let number = self.free.pop().unwrap_or_else(|| {
            self.all.push(Slot { generation: 0, content: None });
            u32::try_from(self.all.len() - 1).expect("fewer connections than 2^32")
        });
        let slot = &mut self.all[number as usize];
        let token = Token { number, generation: slot.generation };
        slot.content = Some(make(token));
        token
    }

    pub(crate) fn get(&mut self, token: Token) -> Option<&mut T> {
        let slot = self.all.get_mut(token.number as usize)?;
        if slot.generation == token.generation {
            slot.content.as_mut()
        } else {
            None
        }
    }

    pub(crate) fn take(&mut self, token: Token) -> Option<T> {
        self.get(token)?;
        let slot = &mut self.all[token.number as usize];
        slot.generation = slot.generation.wrapping_add(1);
        self.free.push(token.number);
        slot.content.take()
    }

    /// Returns the tokens of all that are there.
    pub(crate) fn tokens(&self, into: &mut Vec<Token>) {
        into.clear();
        for (number, slot) in self.all.iter().enumerate() {
            if slot.content.is_some() {
                into.push(Token { number: number as u32, generation: slot.generation });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_that_is_given_again_is_another_connection() {
        let mut slots = Slots::new();
        let first = slots.put(|_| 'a');
        let other = slots.put(|_| 'b');
        assert_eq!(slots.take(first), Some('a'));
        let second = slots.put(|_| 'c');
        assert_eq!(second.number, first.number);
        assert_eq!((slots.get(first).copied(), slots.get(second).copied()), (None, Some('c')));
        assert_eq!(slots.take(first), None);
        assert_eq!(slots.len(), 2);
        let mut tokens = Vec::new();
        slots.tokens(&mut tokens);
        assert_eq!(tokens, [second, other]);
        assert_eq!(Token::from_u64(second.to_u64()), second);
    }
}
