"""Transforms of the fixture project."""

from .speech import elapsed as elapsed
from .speech import sort_speech as sort_speech
from .speech import text_or_absent as text_or_absent
from .words import as_list as as_list
from .words import count_words as count_words
from .words import joined_pieces as joined_pieces
from .words import keep_problem as keep_problem
from .words import label_text as label_text
from .words import listed_twice as listed_twice
from .words import most_used as most_used
from .words import plain_form as plain_form
from .words import question_lines as question_lines
from .words import size_number as size_number
from .words import wants_hold as wants_hold
from .words import whole as whole
from .words import with_question as with_question
from .words import with_warmth as with_warmth
