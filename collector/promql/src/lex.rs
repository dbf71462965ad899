//! The lexer: query text in, tokens with byte positions out.
//!
//! The whole text is cut at once. A lexical error becomes the last token, so that the parser meets it where it
//! stands and reports it there, in Prometheus' words. Braces have their own rules (label matching), as has what is
//! in brackets (a lone colon parts range and step).

mod number;
mod quoted;

use crate::ast::{Aggregation, Op};
use crate::position::Span;

pub use number::parse_duration_ms;
pub(crate) use number::parse_number;
pub(crate) use quoted::unquote;

/// Words with a meaning of their own; all of them are also good metric and label names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keyword {
    Bool,
    By,
    GroupLeft,
    GroupRight,
    Ignoring,
    Offset,
    Smoothed,
    Anchored,
    Fill,
    FillLeft,
    FillRight,
    On,
    Without,
    Start,
    End,
    Step,
    Range,
    MinOf,
    MaxOf,
}

const KEYWORDS: &[(&str, Keyword)] = &[
    ("bool", Keyword::Bool),
    ("by", Keyword::By),
    ("group_left", Keyword::GroupLeft),
    ("group_right", Keyword::GroupRight),
    ("ignoring", Keyword::Ignoring),
    ("offset", Keyword::Offset),
    ("smoothed", Keyword::Smoothed),
    ("anchored", Keyword::Anchored),
    ("fill", Keyword::Fill),
    ("fill_left", Keyword::FillLeft),
    ("fill_right", Keyword::FillRight),
    ("on", Keyword::On),
    ("without", Keyword::Without),
    ("start", Keyword::Start),
    ("end", Keyword::End),
    ("step", Keyword::Step),
    ("range", Keyword::Range),
    ("min_of", Keyword::MinOf),
    ("max_of", Keyword::MaxOf),
];

/// What a token is.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Kind {
    Eof,
    Error(String),
    /// A name without colons.
    Identifier,
    /// A name with colons.
    MetricIdentifier,
    Number,
    Duration,
    Quoted,
    Keyword(Keyword),
    Aggregation(Aggregation),
    Op(Op),
    At,
    Equal,
    MatchRegex,
    MatchNotRegex,
    LeftParen,
    RightParen,
    LeftBrace,
    RightBrace,
    LeftBracket,
    RightBracket,
    Comma,
    Colon,
}

/// One token.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Token {
    pub(crate) kind: Kind,
    pub(crate) span: Span,
}

impl Token {
    /// How Prometheus names it in `unexpected …`.
    pub(crate) fn describe(&self, input: &str) -> String {
        let text = &input[self.span.start.min(input.len())..self.span.end.min(input.len())];
        match &self.kind {
            Kind::Eof => "end of input".to_owned(),
            Kind::Error(text) => text.clone(),
            Kind::Identifier => format!("identifier {}", go_quote(text)),
            Kind::MetricIdentifier => format!("metric identifier {}", go_quote(text)),
            Kind::Number => format!("number {}", shortened(text)),
            Kind::Duration => format!("duration {}", shortened(text)),
            Kind::Quoted => format!("string {}", shortened(text)),
            Kind::Keyword(_) => format!("<{text}>"),
            Kind::Aggregation(_) => format!("<aggr:{text}>"),
            Kind::Op(_) | Kind::At | Kind::MatchRegex | Kind::MatchNotRegex => format!("<op:{text}>"),
            _ => go_quote(text),
        }
    }
}

/// As Go's `%q`, cut after ten characters.
fn shortened(text: &str) -> String {
    if text.len() <= 10 {
        return go_quote(text);
    }
    let cut: String = text.chars().take(10).collect();
    format!("{}...", go_quote(&cut))
}

pub(crate) fn go_quote(text: &str) -> String {
    crate::print::Quoted(text).to_string()
}

/// Cuts `input` into tokens; the last is [`Kind::Eof`] or [`Kind::Error`].
pub(crate) fn tokens(input: &str) -> Vec<Token> {
    let mut lexer = Lexer { input, at: 0, start: 0, out: Vec::new(), parens: 0, brackets: false, colon: false };
    if let Err(message) = lexer.statements() {
        let span = Span::new(lexer.start, input.len());
        lexer.out.push(Token { kind: Kind::Error(message), span });
    }
    lexer.out
}

struct Lexer<'a> {
    input: &'a str,
    at: usize,
    start: usize,
    out: Vec<Token>,
    parens: i32,
    brackets: bool,
    colon: bool,
}

type Lexed = Result<(), String>;

fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\r')
}

pub(crate) fn is_alpha(c: char) -> bool {
    c == '_' || c.is_ascii_alphabetic()
}

pub(crate) fn is_alphanumeric(c: char) -> bool {
    is_alpha(c) || c.is_ascii_digit()
}

fn go_char(c: Option<char>) -> String {
    match c {
        // Go's lexer marks the end with -1, which %q shows as the replacement character.
        None => "'\u{fffd}'".to_owned(),
        Some('\'') => "'\\''".to_owned(),
        Some(c) => {
            let quoted = go_quote(&c.to_string());
            format!("'{}'", if c == '"' { "\"" } else { &quoted[1..quoted.len() - 1] })
        }
    }
}

impl<'a> Lexer<'a> {
    fn peek(&self) -> Option<char> {
        self.input[self.at..].chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += c.len_utf8();
        Some(c)
    }

    fn accept(&mut self, valid: &str) -> bool {
        match self.peek() {
            Some(c) if valid.contains(c) => {
                self.at += c.len_utf8();
                true
            }
            _ => false,
        }
    }

    fn emit(&mut self, kind: Kind) {
        self.out.push(Token { kind, span: Span::new(self.start, self.at) });
    }

    fn skip_blank(&mut self) {
        loop {
            while self.peek().is_some_and(is_space) {
                self.at += 1;
            }
            if self.peek() != Some('#') {
                break;
            }
            while self.peek().is_some_and(|c| c != '\n' && c != '\r') {
                self.next();
            }
        }
        self.start = self.at;
    }

    fn statements(&mut self) -> Lexed {
        loop {
            self.skip_blank();
            let Some(c) = self.next() else {
                if self.parens > 0 {
                    return Err("unclosed left parenthesis".to_owned());
                }
                if self.brackets {
                    return Err("unclosed left bracket".to_owned());
                }
                self.emit(Kind::Eof);
                return Ok(());
            };
            self.statement(c)?;
        }
    }

    fn statement(&mut self, c: char) -> Lexed {
        match c {
            ',' => self.emit(Kind::Comma),
            '*' => self.emit(Kind::Op(Op::Mul)),
            '/' => self.emit(Kind::Op(Op::Div)),
            '%' => self.emit(Kind::Op(Op::Mod)),
            '+' => self.emit(Kind::Op(Op::Add)),
            '-' => self.emit(Kind::Op(Op::Sub)),
            '^' => self.emit(Kind::Op(Op::Pow)),
            '@' => self.emit(Kind::At),
            '=' | '!' | '<' | '>' => return self.comparison(c),
            '"' | '\'' => return self.quoted(c),
            '`' => return self.raw_quoted(),
            '(' => {
                self.emit(Kind::LeftParen);
                self.parens += 1;
            }
            ')' => {
                self.emit(Kind::RightParen);
                self.parens -= 1;
                if self.parens < 0 {
                    return Err("unexpected right parenthesis ')'".to_owned());
                }
            }
            '{' => {
                self.emit(Kind::LeftBrace);
                return self.braces();
            }
            '[' | ']' => return self.bracket(c),
            ':' if self.brackets => {
                if self.colon {
                    return Err("unexpected colon ':'".to_owned());
                }
                self.colon = true;
                self.emit(Kind::Colon);
            }
            '.' if self.peek().is_some_and(|next| next.is_ascii_digit()) => return self.number_or_duration(),
            c if c.is_ascii_digit() => return self.number_or_duration(),
            c if is_alpha(c) || c == ':' => self.word(),
            c => return Err(format!("unexpected character: {}", go_char(Some(c)))),
        }
        Ok(())
    }

    fn comparison(&mut self, c: char) -> Lexed {
        let next = self.peek();
        let op = match (c, next) {
            ('=', Some('=')) => Op::Eql,
            ('=', Some('~')) => return Err("unexpected character after '=': '~'".to_owned()),
            ('=', _) => {
                self.emit(Kind::Equal);
                return Ok(());
            }
            ('!', Some('=')) => Op::Neq,
            ('!', other) => return Err(format!("unexpected character after '!': {}", go_char(other))),
            ('<', Some('=')) => Op::Lte,
            ('<', Some('/')) => Op::TrimUpper,
            ('<', _) => Op::Lss,
            (_, Some('=')) => Op::Gte,
            (_, Some('/')) => Op::TrimLower,
            _ => Op::Gtr,
        };
        if op.text().len() == 2 {
            self.at += 1;
        }
        self.emit(Kind::Op(op));
        Ok(())
    }

    fn bracket(&mut self, c: char) -> Lexed {
        if c == '[' {
            if self.brackets {
                return Err("unexpected left bracket '['".to_owned());
            }
            self.emit(Kind::LeftBracket);
            self.brackets = true;
            self.colon = false;
        } else {
            if !self.brackets {
                return Err("unexpected right bracket ']'".to_owned());
            }
            self.emit(Kind::RightBracket);
            self.brackets = false;
        }
        Ok(())
    }

    /// A name or a keyword; its first character is read.
    fn word(&mut self) {
        let colons = !self.brackets;
        while self.peek().is_some_and(|c| is_alphanumeric(c) || (colons && c == ':')) {
            self.at += 1;
        }
        let word = &self.input[self.start..self.at];
        self.emit(word_kind(word));
    }

    fn braces(&mut self) -> Lexed {
        loop {
            self.skip_blank();
            let Some(c) = self.next() else {
                return Err("unexpected end of input inside braces".to_owned());
            };
            match c {
                ',' => self.emit(Kind::Comma),
                '"' | '\'' => self.quoted(c)?,
                '`' => self.raw_quoted()?,
                '=' if self.accept("~") => self.emit(Kind::MatchRegex),
                '=' => self.emit(Kind::Equal),
                '!' if self.accept("~") => self.emit(Kind::MatchNotRegex),
                '!' if self.accept("=") => self.emit(Kind::Op(Op::Neq)),
                '!' => {
                    let next = self.peek();
                    return Err(format!("unexpected character after '!' inside braces: {}", go_char(next)));
                }
                '{' => return Err("unexpected left brace '{'".to_owned()),
                '}' => {
                    self.emit(Kind::RightBrace);
                    return Ok(());
                }
                c if is_alpha(c) => {
                    while self.peek().is_some_and(is_alphanumeric) {
                        self.at += 1;
                    }
                    self.emit(Kind::Identifier);
                }
                c => return Err(format!("unexpected character inside braces: {}", go_char(Some(c)))),
            }
        }
    }
}

fn word_kind(word: &str) -> Kind {
    let lower = word.to_ascii_lowercase();
    if let Some((_, keyword)) = KEYWORDS.iter().find(|(name, _)| *name == lower) {
        return Kind::Keyword(*keyword);
    }
    if let Some((_, aggregation)) = Aggregation::ALL.iter().find(|(name, _)| *name == lower) {
        return Kind::Aggregation(*aggregation);
    }
    match lower.as_str() {
        "and" => Kind::Op(Op::And),
        "or" => Kind::Op(Op::Or),
        "unless" => Kind::Op(Op::Unless),
        "atan2" => Kind::Op(Op::Atan2),
        "inf" | "nan" => Kind::Number,
        _ if word.contains(':') => Kind::MetricIdentifier,
        _ => Kind::Identifier,
    }
}
