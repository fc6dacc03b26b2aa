//! The query language: an honest part of it, read strictly.
//!
//! ```text
//! select (* | count(*)) from Entity
//!   [where Property (= | > | < | >= | <= | LIKE) literal | Property IN (literal, …) [AND …]]
//!   [orderby Property [asc | desc], …] [startposition n] [maxresults n]
//! ```
//!
//! **Invariant.** What is not in this grammar is a `QueryParserError`: no query is half understood. Keywords have no
//! case; a literal is text in single quotes with `\'` for a quote, a number, or `true` or `false`.

use super::refusal::Refusal;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Comparison {
    Equal,
    Greater,
    Less,
    GreaterOrEqual,
    LessOrEqual,
    Like,
    In,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Condition {
    pub(crate) property: String,
    pub(crate) comparison: Comparison,
    /// One literal, several for [`Comparison::In`].
    pub(crate) literals: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Query {
    pub(crate) entity: String,
    pub(crate) counts: bool,
    pub(crate) conditions: Vec<Condition>,
    /// Properties, and whether each descends.
    pub(crate) order: Vec<(String, bool)>,
    /// Counted from 1.
    pub(crate) start: usize,
    pub(crate) limit: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Word(String),
    Literal(String),
    Sign(&'static str),
}

const SIGNS: [&str; 9] = [">=", "<=", "=", ">", "<", "(", ")", ",", "*"];
const MOST_RESULTS: usize = 1_000;

impl Query {
    pub(crate) fn parse(text: &str) -> Result<Self, Refusal> {
        let mut reader = Reader { tokens: tokens(text)?, next: 0 };
        reader.keyword("select")?;
        let counts = reader.takes_keyword("count");
        if counts {
            reader.sign("(")?;
        }
        reader.sign("*")?;
        if counts {
            reader.sign(")")?;
        }
        reader.keyword("from")?;
        let entity = reader.word()?;
        let mut query = Self { entity, counts, conditions: Vec::new(), order: Vec::new(), start: 1, limit: 100 };
        if reader.takes_keyword("where") {
            query.conditions.push(reader.condition()?);
            while reader.takes_keyword("and") {
                query.conditions.push(reader.condition()?);
            }
        }
        query.order = reader.order()?;
        if reader.takes_keyword("startposition") {
            query.start = reader.count(1, usize::MAX)?;
        }
        if reader.takes_keyword("maxresults") {
            query.limit = reader.count(0, MOST_RESULTS)?;
        }
        match reader.peek() {
            None => Ok(query),
            Some(_) => Err(reader.unexpected()),
        }
    }
}

struct Reader {
    tokens: Vec<Token>,
    next: usize,
}

impl Reader {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.next)
    }

    fn unexpected(&self) -> Refusal {
        let found = match self.peek() {
            None => "<EOF>".to_owned(),
            Some(Token::Word(word)) => word.clone(),
            Some(Token::Literal(text)) => format!("'{text}'"),
            Some(Token::Sign(sign)) => (*sign).to_owned(),
        };
        Refusal::query_syntax(&format!("Encountered \"{found}\" at token {}", self.next + 1))
    }

    fn takes_keyword(&mut self, keyword: &str) -> bool {
        let found = matches!(self.peek(), Some(Token::Word(word)) if word.eq_ignore_ascii_case(keyword));
        self.next += usize::from(found);
        found
    }

    fn keyword(&mut self, keyword: &str) -> Result<(), Refusal> {
        if self.takes_keyword(keyword) { Ok(()) } else { Err(self.unexpected()) }
    }

    fn takes_sign(&mut self, sign: &str) -> bool {
        let found = matches!(self.peek(), Some(Token::Sign(known)) if *known == sign);
        self.next += usize::from(found);
        found
    }

    fn sign(&mut self, sign: &str) -> Result<(), Refusal> {
        if self.takes_sign(sign) { Ok(()) } else { Err(self.unexpected()) }
    }

    fn word(&mut self) -> Result<String, Refusal> {
        match self.peek() {
            Some(Token::Word(word)) => {
                let word = word.clone();
                self.next += 1;
                Ok(word)
            }
            _ => Err(self.unexpected()),
        }
    }

    fn condition(&mut self) -> Result<Condition, Refusal> {
        let property = self.word()?;
        let comparison = self.comparison()?;
        let mut literals = Vec::new();
        if comparison == Comparison::In {
            self.sign("(")?;
            literals.push(self.literal()?);
            while self.takes_sign(",") {
                literals.push(self.literal()?);
            }
            self.sign(")")?;
        } else {
            literals.push(self.literal()?);
        }
        Ok(Condition { property, comparison, literals })
    }

    fn comparison(&mut self) -> Result<Comparison, Refusal> {
        let comparison = match self.peek() {
            Some(Token::Sign("=")) => Comparison::Equal,
            Some(Token::Sign(">")) => Comparison::Greater,
            Some(Token::Sign("<")) => Comparison::Less,
            Some(Token::Sign(">=")) => Comparison::GreaterOrEqual,
            Some(Token::Sign("<=")) => Comparison::LessOrEqual,
            Some(Token::Word(word)) if word.eq_ignore_ascii_case("like") => Comparison::Like,
            Some(Token::Word(word)) if word.eq_ignore_ascii_case("in") => Comparison::In,
            _ => return Err(self.unexpected()),
        };
        self.next += 1;
        Ok(comparison)
    }

    fn literal(&mut self) -> Result<String, Refusal> {
        let literal = match self.peek() {
            Some(Token::Literal(text)) => text.clone(),
            Some(Token::Word(word)) if is_bare_literal(word) => word.to_ascii_lowercase(),
            _ => return Err(self.unexpected()),
        };
        self.next += 1;
        Ok(literal)
    }

    fn order(&mut self) -> Result<Vec<(String, bool)>, Refusal> {
        let mut order = Vec::new();
        if self.takes_keyword("order") {
            self.keyword("by")?;
        } else if !self.takes_keyword("orderby") {
            return Ok(order);
        }
        loop {
            let property = self.word()?;
            let descends = self.takes_keyword("desc");
            if !descends {
                self.takes_keyword("asc");
            }
            order.push((property, descends));
            if !self.takes_sign(",") {
                return Ok(order);
            }
        }
    }

    fn count(&mut self, least: usize, most: usize) -> Result<usize, Refusal> {
        let unexpected = self.unexpected();
        let count = self.word()?.parse().map_err(|_| unexpected)?;
        if !(least..=most).contains(&count) {
            return Err(Refusal::query(&format!("the value must be between {least} and {most}")));
        }
        Ok(count)
    }
}

fn is_bare_literal(word: &str) -> bool {
    let is_flag = word.eq_ignore_ascii_case("true") || word.eq_ignore_ascii_case("false");
    is_flag || super::json::parse_decimal(word).is_some()
}

fn tokens(text: &str) -> Result<Vec<Token>, Refusal> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        if first == '\'' {
            let (literal, after) = quoted(rest.get(1..).unwrap_or_default())?;
            tokens.push(Token::Literal(literal));
            rest = after;
        } else if let Some(sign) = SIGNS.iter().find(|sign| rest.starts_with(**sign)) {
            tokens.push(Token::Sign(sign));
            rest = rest.get(sign.len()..).unwrap_or_default();
        } else {
            let is_word = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '.' | '_' | '-');
            let end = rest.find(|letter| !is_word(letter)).unwrap_or(rest.len());
            let (word, after) = rest.split_at(end);
            if word.is_empty() {
                return Err(Refusal::query_syntax(&format!("Lexical error. Encountered: \"{first}\"")));
            }
            tokens.push(Token::Word(word.to_owned()));
            rest = after;
        }
        rest = rest.trim_start();
    }
    Ok(tokens)
}

/// The text up to the closing quote, and what comes after it.
fn quoted(text: &str) -> Result<(String, &str), Refusal> {
    let mut literal = String::new();
    let mut letters = text.char_indices();
    while let Some((index, letter)) = letters.next() {
        match letter {
            '\'' => return Ok((literal, text.get(index + 1..).unwrap_or_default())),
            '\\' => match letters.next() {
                Some((_, escaped @ ('\'' | '\\'))) => literal.push(escaped),
                _ => {
                    return Err(Refusal::query_syntax(
                        "Lexical error: a backslash escapes a quote or a backslash only",
                    ));
                }
            },
            other => literal.push(other),
        }
    }
    Err(Refusal::query_syntax("Lexical error: a literal is not closed"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;

    #[test]
    fn a_full_query_is_read() {
        let text = "SELECT * FROM Invoice WHERE MetaData.LastUpdatedTime > '2026-01-01T00:00:00-08:00' AND Balance>='0.01' \
                    and Id in ('1', '2') ORDERBY TxnDate desc, Id STARTPOSITION 11 MAXRESULTS 10";
        let query = Query::parse(text).unwrap();
        assert_eq!((query.entity.as_str(), query.counts, query.start, query.limit), ("Invoice", false, 11, 10));
        assert_eq!(query.order, [("TxnDate".to_owned(), true), ("Id".to_owned(), false)]);
        let comparisons: Vec<_> = query.conditions.iter().map(|condition| condition.comparison).collect();
        assert_eq!(comparisons, [Comparison::Greater, Comparison::GreaterOrEqual, Comparison::In]);
        assert_eq!(query.conditions[2].literals, ["1", "2"]);
    }

    #[test]
    fn quotes_are_escaped_with_a_backslash() {
        let query = Query::parse(r"select count(*) from Customer where DisplayName = 'O\'Neil \\ Co'").unwrap();
        assert!(query.counts);
        assert_eq!(query.conditions[0].literals, [r"O'Neil \ Co"]);
    }

    #[test]
    fn everything_else_is_a_parser_error() {
        for text in [
            "",
            "select",
            "select Id from Customer",
            "select * from Customer where",
            "select * from Customer where Id = 'a' or Id = 'b'",
            "select * from Customer where Id != 'a'",
            "select * from Customer where Id = a",
            "select * from Customer where DisplayName = 'O'Neil'",
            "select * from Customer where DisplayName = 'open",
            "select * from Customer where Id in ()",
            "select * from Customer limit 5",
            "select * from Customer maxresults ten",
            "select * from Customer; drop",
            "delete * from Customer",
        ] {
            let refusal = Query::parse(text).unwrap_err();
            assert_eq!(refusal.code, "4000", "{text}");
        }
        assert_eq!(Query::parse("select * from Customer maxresults 1001").unwrap_err().code, "4001");
        assert_eq!(Query::parse("select * from Customer startposition 0").unwrap_err().code, "4001");
    }
}
