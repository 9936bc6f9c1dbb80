//! A Rust text as words and signs: without comments, texts, lifetimes and whatever stands behind `#[cfg(test)]`.

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Token {
    Word(String),
    /// `::`
    Path,
    Sign(char),
}

impl Token {
    pub fn is(&self, sign: char) -> bool {
        *self == Token::Sign(sign)
    }

    pub fn word(&self) -> Option<&str> {
        match self {
            Token::Word(word) => Some(word),
            _ => None,
        }
    }
}

pub fn tokens(text: &str) -> Vec<Token> {
    without_tests(read(text))
}

fn read(text: &str) -> Vec<Token> {
    let all: Vec<char> = text.chars().collect();
    let mut found = Vec::new();
    let mut at = 0;
    while at < all.len() {
        let rest = &all[at..];
        at += match rest {
            ['/', '/', ..] => rest.iter().position(|c| *c == '\n').unwrap_or(rest.len()),
            ['/', '*', ..] => length_of_comment(rest),
            ['"', ..] => length_of_text(rest),
            ['\'', '\\', ..] => 3 + rest[3..].iter().position(|c| *c == '\'').map_or(0, |end| end + 1),
            ['\'', _, '\'', ..] => 3,
            ['\'', ..] => 1 + rest[1..].iter().take_while(|c| is_of_word(**c)).count(),
            [':', ':', ..] => {
                found.push(Token::Path);
                2
            }
            [c, ..] if c.is_whitespace() => 1,
            [c, ..] if is_of_word(*c) => {
                let word: String = rest.iter().take_while(|c| is_of_word(**c)).collect();
                let (length, behind) = (word.chars().count(), &rest[word.chars().count()..]);
                match (word.as_str(), behind) {
                    ("r" | "br" | "cr", ['#' | '"', ..]) if raw_text(behind).is_some() => {
                        length + raw_text(behind).unwrap_or_default()
                    }
                    // A raw word: the word itself follows.
                    ("r", ['#', ..]) => 2,
                    ("b" | "c", ['"', ..]) => length,
                    ("b", ['\'', ..]) => length,
                    _ => {
                        found.push(Token::Word(word));
                        length
                    }
                }
            }
            [c, ..] => {
                found.push(Token::Sign(*c));
                1
            }
            [] => break,
        };
    }
    found
}

fn is_of_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn length_of_comment(text: &[char]) -> usize {
    let (mut at, mut depth) = (0, 0);
    while at < text.len() {
        match text[at..] {
            ['/', '*', ..] => (at, depth) = (at + 2, depth + 1),
            ['*', '/', ..] if depth == 1 => return at + 2,
            ['*', '/', ..] => (at, depth) = (at + 2, depth - 1),
            _ => at += 1,
        }
    }
    at
}

fn length_of_text(text: &[char]) -> usize {
    let mut at = 1;
    while at < text.len() && text[at] != '"' {
        at += if text[at] == '\\' { 2 } else { 1 };
    }
    at + 1
}

/// How long what follows an `r` is, if it is a raw text.
fn raw_text(text: &[char]) -> Option<usize> {
    let hashes = text.iter().take_while(|c| **c == '#').count();
    if text.get(hashes) != Some(&'"') {
        return None;
    }
    let end: Vec<char> = std::iter::once('"').chain(std::iter::repeat_n('#', hashes)).collect();
    let inside = text[hashes + 1..].windows(end.len()).position(|part| part == end)?;
    Some(hashes + 1 + inside + end.len())
}

fn without_tests(tokens: Vec<Token>) -> Vec<Token> {
    let marks = read("#[cfg(test)]");
    let mut kept = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        if tokens[at..].starts_with(&marks) {
            at = end_of_item(&tokens, at + marks.len());
        } else {
            kept.push(tokens[at].clone());
            at += 1;
        }
    }
    kept
}

/// Behind the `;`, or behind the block, that ends what begins here.
fn end_of_item(tokens: &[Token], start: usize) -> usize {
    let mut depth = 0;
    for (at, token) in tokens.iter().enumerate().skip(start) {
        match token {
            Token::Sign('(' | '[' | '{') => depth += 1,
            Token::Sign(')' | ']') => depth -= 1,
            Token::Sign('}') => {
                depth -= 1;
                if depth == 0 {
                    return at + 1;
                }
            }
            Token::Sign(';') if depth == 0 => return at + 1,
            _ => {}
        }
    }
    tokens.len()
}
