"""
Transforms: the functions that rules in `specs/mappings` call if no verb is enough.

Every public function of a public module is a transform. It is pure, does no I/O and takes no
request objects. Each parameter and the result are fully annotated: the generator reads the
annotations as text, and `UnsetType` or `| None` says what may be passed. One example runs as a
test. Helpers are private, or in modules whose names begin with an underscore.
"""

from .counts import count_or_deltas as count_or_deltas
from .counts import count_or_number as count_or_number
from .counts import count_texts as count_texts
from .counts import elapsed_ns as elapsed_ns
from .counts import eval_ns as eval_ns
from .counts import prompt_count as prompt_count
from .counts import prompt_eval_ns as prompt_eval_ns
from .counts import prompt_text_count as prompt_text_count
from .decisions import answers_by_name as answers_by_name
from .decisions import decision_images as decision_images
from .decisions import decision_images_problem as decision_images_problem
from .decisions import decision_problem as decision_problem
from .decisions import fits_decision as fits_decision
from .decisions import huge_number_problem as huge_number_problem
from .fill import untemplated_prompt as untemplated_prompt
from .host import is_vision_type as is_vision_type
from .host import lists_tool_use as lists_tool_use
from .host import stated_vision as stated_vision
from .host import v0_instances as v0_instances
from .keep_alive import is_zero_duration as is_zero_duration
from .keep_alive import keep_alive_problem as keep_alive_problem
from .library import draft_problem as draft_problem
from .library import file_types_problem as file_types_problem
from .library import files_problem as files_problem
from .library import holds_any as holds_any
from .library import illegal_name_problem as illegal_name_problem
from .library import info_problem as info_problem
from .library import is_digest as is_digest
from .library import is_legal_name as is_legal_name
from .library import is_name_given as is_name_given
from .library import is_same_name as is_same_name
from .library import is_some_legal_name as is_some_legal_name
from .library import is_some_name as is_some_name
from .library import licence_problem as licence_problem
from .library import pull_name_problem as pull_name_problem
from .library import quantize_problem as quantize_problem
from .library import source_name_problem as source_name_problem
from .library import source_problem as source_problem
from .library import stored_messages_problem as stored_messages_problem
from .library import template_problem as template_problem
from .messages import arguments_problem as arguments_problem
from .messages import base64_problem as base64_problem
from .messages import conversation as conversation
from .messages import has_other_role as has_other_role
from .messages import message_content as message_content
from .messages import object_problem as object_problem
from .messages import prompt_as_messages as prompt_as_messages
from .passed_calls import sound_calls as sound_calls
from .passed_calls import whole_calls as whole_calls
from .passed_on import any_object_format as any_object_format
from .passed_on import dated_entries as dated_entries
from .passed_on import estimated_tokens as estimated_tokens
from .passed_on import lacks_format as lacks_format
from .passed_on import ollama_choices as ollama_choices
from .passed_on import ollama_model_list as ollama_model_list
from .passed_on import ollama_usage as ollama_usage
from .passed_on import owner_of as owner_of
from .passed_on import tool_choice_word as tool_choice_word
from .passed_on import unix_seconds as unix_seconds
from .passed_thinking import is_thinking_opened as is_thinking_opened
from .passed_thinking import opened_thinking as opened_thinking
from .passed_thinking import watched_thinking as watched_thinking
from .passed_tools import known_tools as known_tools
from .passed_tools import offered_tools as offered_tools
from .passed_tools import offers_tools as offers_tools
from .passed_tools import sound_tools as sound_tools
from .passed_turns import behind_made_input as behind_made_input
from .passed_turns import behind_made_turns as behind_made_turns
from .passed_turns import made_instructions as made_instructions
from .passed_turns import native_chat_problem as native_chat_problem
from .passed_turns import passed_on_conversation as passed_on_conversation
from .passed_vectors import passed_on_vectors as passed_on_vectors
from .pictures import has_refused_image as has_refused_image
from .pictures import have_refused_image as have_refused_image
from .pictures import may_have_refused_url as may_have_refused_url
from .sampling import is_no_token as is_no_token
from .sampling import positive_or_absent as positive_or_absent
from .sampling import seed_or_absent as seed_or_absent
from .sampling import typical_p_problem as typical_p_problem
from .sampling import whole as whole
from .sampling import with_defaults as with_defaults
from .show import families as families
from .show import joined_licences as joined_licences
from .show import model_info as model_info
from .show import modelfile as modelfile
from .show import parameters_text as parameters_text
from .show import reachable_context as reachable_context
from .show import system_in_force as system_in_force
from .show import template_hint as template_hint
from .speech import separate_speech as separate_speech
from .speech import unsaid_content as unsaid_content
from .structured import any_object_schema as any_object_schema
from .structured import asks_for_format as asks_for_format
from .structured import format_problem as format_problem
from .thinking import asks_to_think as asks_to_think
from .thinking import is_no_think_value as is_no_think_value
from .thinking import reasoning_effort as reasoning_effort
from .thinking import reasoning_options as reasoning_options
from .thinking import think_level_problem as think_level_problem
from .thinking import think_type_problem as think_type_problem
from .thinking import thinking_support as thinking_support
from .tool_fragments import finished_calls as finished_calls
from .tool_fragments import merge_function_call as merge_function_call
from .tool_fragments import merge_tool_calls as merge_tool_calls
from .tools import to_arguments as to_arguments
from .tools import to_json_text as to_json_text
from .tools import tool_parameters as tool_parameters
from .vectors import early_input_problem as early_input_problem
from .vectors import embed_input as embed_input
from .vectors import input_count as input_count
from .vectors import input_problem as input_problem
from .vectors import is_empty_input as is_empty_input
from .vectors import only_vector as only_vector
from .vectors import unit_vectors as unit_vectors

__all__ = [
    "answers_by_name",
    "any_object_format",
    "any_object_schema",
    "arguments_problem",
    "asks_for_format",
    "asks_to_think",
    "base64_problem",
    "behind_made_input",
    "behind_made_turns",
    "conversation",
    "count_or_deltas",
    "count_or_number",
    "count_texts",
    "dated_entries",
    "decision_images",
    "decision_images_problem",
    "decision_problem",
    "draft_problem",
    "early_input_problem",
    "elapsed_ns",
    "embed_input",
    "estimated_tokens",
    "eval_ns",
    "families",
    "file_types_problem",
    "files_problem",
    "finished_calls",
    "fits_decision",
    "format_problem",
    "has_other_role",
    "has_refused_image",
    "have_refused_image",
    "holds_any",
    "huge_number_problem",
    "illegal_name_problem",
    "info_problem",
    "input_count",
    "input_problem",
    "is_digest",
    "is_empty_input",
    "is_legal_name",
    "is_name_given",
    "is_no_think_value",
    "is_no_token",
    "is_same_name",
    "is_some_legal_name",
    "is_some_name",
    "is_thinking_opened",
    "is_vision_type",
    "is_zero_duration",
    "joined_licences",
    "keep_alive_problem",
    "known_tools",
    "lacks_format",
    "licence_problem",
    "lists_tool_use",
    "made_instructions",
    "may_have_refused_url",
    "merge_function_call",
    "merge_tool_calls",
    "message_content",
    "model_info",
    "modelfile",
    "native_chat_problem",
    "object_problem",
    "offered_tools",
    "offers_tools",
    "ollama_choices",
    "ollama_model_list",
    "ollama_usage",
    "only_vector",
    "opened_thinking",
    "owner_of",
    "parameters_text",
    "passed_on_conversation",
    "passed_on_vectors",
    "positive_or_absent",
    "prompt_as_messages",
    "prompt_count",
    "prompt_eval_ns",
    "prompt_text_count",
    "pull_name_problem",
    "quantize_problem",
    "reachable_context",
    "reasoning_effort",
    "reasoning_options",
    "seed_or_absent",
    "separate_speech",
    "sound_calls",
    "sound_tools",
    "source_name_problem",
    "source_problem",
    "stated_vision",
    "stored_messages_problem",
    "system_in_force",
    "template_hint",
    "template_problem",
    "think_level_problem",
    "think_type_problem",
    "thinking_support",
    "to_arguments",
    "to_json_text",
    "tool_choice_word",
    "tool_parameters",
    "typical_p_problem",
    "unit_vectors",
    "unix_seconds",
    "unsaid_content",
    "untemplated_prompt",
    "v0_instances",
    "watched_thinking",
    "whole",
    "whole_calls",
    "with_defaults",
]
