import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import dev.langchain4j.agent.tool.ToolExecutionRequest;
import dev.langchain4j.agent.tool.ToolSpecification;
import dev.langchain4j.data.message.ChatMessage;
import dev.langchain4j.data.message.ImageContent;
import dev.langchain4j.data.message.TextContent;
import dev.langchain4j.data.message.ToolExecutionResultMessage;
import dev.langchain4j.data.message.UserMessage;
import dev.langchain4j.data.segment.TextSegment;
import dev.langchain4j.exception.ModelNotFoundException;
import dev.langchain4j.model.StreamingResponseHandler;
import dev.langchain4j.model.chat.request.ChatRequest;
import dev.langchain4j.model.chat.request.ResponseFormat;
import dev.langchain4j.model.chat.request.ResponseFormatType;
import dev.langchain4j.model.chat.request.json.JsonArraySchema;
import dev.langchain4j.model.chat.request.json.JsonObjectSchema;
import dev.langchain4j.model.chat.request.json.JsonSchema;
import dev.langchain4j.model.chat.request.json.JsonStringSchema;
import dev.langchain4j.model.chat.response.ChatResponse;
import dev.langchain4j.model.chat.response.PartialResponse;
import dev.langchain4j.model.chat.response.PartialResponseContext;
import dev.langchain4j.model.chat.response.StreamingChatResponseHandler;
import dev.langchain4j.model.ollama.OllamaChatModel;
import dev.langchain4j.model.ollama.OllamaEmbeddingModel;
import dev.langchain4j.model.ollama.OllamaLanguageModel;
import dev.langchain4j.model.ollama.OllamaModels;
import dev.langchain4j.model.ollama.OllamaStreamingChatModel;
import dev.langchain4j.model.ollama.OllamaStreamingLanguageModel;
import dev.langchain4j.model.output.FinishReason;
import dev.langchain4j.model.output.Response;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;

/**
 * Drives langchain4j's Ollama module: {@code Driver URL CHAT EMBEDDING [NAME...]}.
 *
 * <p>It decodes with Jackson, reads streams by lines, and takes times only as dates with an offset.
 * It prints one JSON line per scenario, with name, ok and detail, as the drivers in Python do.
 */
public final class Driver {
    private static final String QUESTION =
            "What grows in the orchard behind the harbour? Answer in two sentences.";
    private static final String WEATHER_QUESTION =
            "What is the weather in Lisbon? Use the tool get_weather.";
    private static final String PERSON_QUESTION = "Describe a keeper of a lighthouse named Ada.";
    private static final String HELD_QUESTION = "[hold] " + QUESTION;
    private static final String BROKEN_QUESTION = "[break] " + QUESTION;
    private static final String MISSING_MODEL = "nobody/has-this-model:7b";
    /** One grey pixel. */
    private static final String PNG =
            "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNoAAAAggCBd81ytgAAAABJRU5ErkJggg==";
    private static final long LIMIT_S = 30;
    private static final ObjectMapper JSON = new ObjectMapper();

    private final String url;
    private final String chat;
    private final String embedding;

    private Driver(String url, String chat, String embedding) {
        this.url = url;
        this.chat = chat;
        this.embedding = embedding;
    }

    private interface Scenario {
        void run() throws Exception;
    }

    /** What a stream came to: its pieces and its whole. */
    private static final class Reading implements StreamingChatResponseHandler {
        final List<String> pieces = new ArrayList<>();
        final StringBuilder thinking = new StringBuilder();
        final CompletableFuture<ChatResponse> whole = new CompletableFuture<>();

        @Override
        public void onPartialResponse(String text) {
            pieces.add(text);
        }

        @Override
        public void onPartialThinking(dev.langchain4j.model.chat.response.PartialThinking part) {
            thinking.append(part.text());
        }

        @Override
        public void onCompleteResponse(ChatResponse response) {
            whole.complete(response);
        }

        @Override
        public void onError(Throwable error) {
            whole.completeExceptionally(error);
        }
    }

    private OllamaChatModel.OllamaChatModelBuilder model() {
        return OllamaChatModel.builder().baseUrl(url).modelName(chat).maxRetries(0);
    }

    private OllamaStreamingChatModel.OllamaStreamingChatModelBuilder streaming() {
        return OllamaStreamingChatModel.builder().baseUrl(url).modelName(chat);
    }

    private static ChatRequest said(ChatMessage... messages) {
        return ChatRequest.builder().messages(messages).build();
    }

    private static ChatRequest ask(String text) {
        return said(UserMessage.from(text));
    }

    private static Reading read(OllamaStreamingChatModel model, ChatRequest request)
            throws Exception {
        Reading reading = new Reading();
        model.chat(request, reading);
        reading.whole.get(LIMIT_S, TimeUnit.SECONDS);
        return reading;
    }

    private static ToolSpecification tool() {
        JsonObjectSchema parameters =
                JsonObjectSchema.builder()
                        .addStringProperty("city", "Name of the city")
                        .required("city")
                        .build();
        return ToolSpecification.builder()
                .name("get_weather")
                .description("The weather in a city.")
                .parameters(parameters)
                .build();
    }

    private static ChatRequest asksForTool(ChatMessage... messages) {
        return ChatRequest.builder().messages(messages).toolSpecifications(tool()).build();
    }

    private static void check(boolean holds, Object what) {
        if (!holds) {
            throw new IllegalStateException("not so: " + what);
        }
    }

    private static void checkCall(List<ToolExecutionRequest> calls) throws Exception {
        check(calls.size() == 1 && calls.get(0).name().equals("get_weather"), calls);
        check(JSON.readTree(calls.get(0).arguments()).path("city").isTextual(), calls);
    }

    private static void checkWhole(ChatResponse answer) {
        check(!answer.aiMessage().text().isEmpty(), answer);
        check(answer.finishReason() == FinishReason.STOP, answer);
        check(answer.tokenUsage().inputTokenCount() > 0, answer);
        check(answer.tokenUsage().outputTokenCount() > 0, answer);
    }

    private static void checkUnit(float[] vector) {
        double sum = 0;
        for (float part : vector) {
            sum += part * part;
        }
        check(Math.abs(Math.sqrt(sum) - 1) < 1e-3, "length " + Math.sqrt(sum));
    }

    private Map<String, Scenario> scenarios() {
        Map<String, Scenario> all = new LinkedHashMap<>();
        all.put("list", this::list);
        all.put("show", this::show);
        all.put("ps", this::ps);
        all.put("chat", () -> checkWhole(model().build().chat(ask(QUESTION))));
        all.put("chat_stream", this::chatStream);
        all.put("options", this::options);
        all.put("tools_roundtrip", this::toolsRoundtrip);
        all.put("tools_stream", this::toolsStream);
        all.put("format_schema", this::formatSchema);
        all.put("format_json", this::formatJson);
        all.put("think", this::think);
        all.put("think_stream", this::thinkStream);
        all.put("vision", this::vision);
        all.put("generate", this::generate);
        all.put("generate_stream", this::generateStream);
        all.put("embed", this::embed);
        all.put("missing_model", this::missingModel);
        all.put("missing_model_stream", this::missingModelStream);
        all.put("missing_model_embed", this::missingModelEmbed);
        all.put("stream_abort", this::streamAbort);
        all.put("stream_breaks_off", this::streamBreaksOff);
        return all;
    }

    /** Each model has a name, a size, a digest and a time. */
    private void list() {
        var models = OllamaModels.builder().baseUrl(url).build().availableModels().content();
        check(models.stream().anyMatch(one -> one.getName().equals(chat + ":latest")), models);
        check(models.stream().allMatch(one -> one.getSize() > 0), models);
        check(models.stream().allMatch(one -> one.getModifiedAt() != null), models);
    }

    /** The model says what it can. */
    private void show() {
        var card = OllamaModels.builder().baseUrl(url).build().modelCard(chat).content();
        check(card.getCapabilities().contains("tools"), card.getCapabilities());
        check(!card.getDetails().getQuantizationLevel().isEmpty(), card.getDetails());
    }

    /** A model that has just answered is loaded. */
    private void ps() {
        model().build().chat(ask(QUESTION));
        var loaded = OllamaModels.builder().baseUrl(url).build().runningModels().content();
        check(loaded.stream().anyMatch(one -> one.getName().equals(chat + ":latest")), loaded);
        check(loaded.stream().allMatch(one -> one.getExpiresAt() != null), loaded);
    }

    /** A chat answers in pieces, which make the whole. */
    private void chatStream() throws Exception {
        Reading reading = read(streaming().build(), ask(QUESTION));
        check(reading.pieces.size() > 2, reading.pieces);
        ChatResponse whole = reading.whole.get();
        checkWhole(whole);
        check(String.join("", reading.pieces).equals(whole.aiMessage().text()), reading.pieces);
    }

    /** Options are taken, and a limit cuts. */
    private void options() {
        var model = model().temperature(0.0).topK(40).seed(7).stop(List.of("\u001c")).think(false);
        ChatResponse answer = model.numPredict(4).build().chat(ask(QUESTION));
        check(answer.tokenUsage().outputTokenCount() <= 4, answer);
        check(answer.finishReason() == FinishReason.LENGTH, answer);
    }

    /** A tool is called, and its result, told without an id, answered in words. */
    private void toolsRoundtrip() throws Exception {
        OllamaChatModel model = model().build();
        UserMessage question = UserMessage.from(WEATHER_QUESTION);
        ChatResponse first = model.chat(asksForTool(question));
        checkCall(first.aiMessage().toolExecutionRequests());
        var call = first.aiMessage().toolExecutionRequests().get(0);
        ChatMessage result = ToolExecutionResultMessage.from(call, "17");
        checkWhole(model.chat(asksForTool(question, first.aiMessage(), result)));
    }

    /** A streamed call is whole. */
    private void toolsStream() throws Exception {
        ChatRequest request = asksForTool(UserMessage.from(WEATHER_QUESTION));
        ChatResponse whole = read(streaming().build(), request).whole.get();
        checkCall(whole.aiMessage().toolExecutionRequests());
    }

    /** With a schema the text is an instance of it. */
    private void formatSchema() throws Exception {
        JsonObjectSchema person =
                JsonObjectSchema.builder()
                        .addStringProperty("name")
                        .addIntegerProperty("age")
                        .addEnumProperty("trade", List.of("keeper", "sailor", "cook"))
                        .addProperty(
                                "friends",
                                JsonArraySchema.builder().items(new JsonStringSchema()).build())
                        .required("name", "age", "trade", "friends")
                        .build();
        JsonSchema schema = JsonSchema.builder().name("person").rootElement(person).build();
        ResponseFormat format =
                ResponseFormat.builder().type(ResponseFormatType.JSON).jsonSchema(schema).build();
        ChatResponse answer = model().responseFormat(format).build().chat(ask(PERSON_QUESTION));
        JsonNode found = JSON.readTree(answer.aiMessage().text());
        check(found.path("name").isTextual() && found.path("age").isIntegralNumber(), found);
        check(found.path("friends").isArray(), found);
    }

    /** With format json the text is JSON. */
    private void formatJson() throws Exception {
        OllamaChatModel model = model().responseFormat(ResponseFormat.JSON).build();
        JSON.readTree(model.chat(ask(PERSON_QUESTION + " Answer in JSON.")).aiMessage().text());
    }

    /** Thinking stands beside the text, and is not there when it is not wanted. */
    private void think() {
        OllamaChatModel thinks = model().think(true).returnThinking(true).build();
        String thinking = thinks.chat(ask(QUESTION)).aiMessage().thinking();
        check(thinking != null && !thinking.isEmpty(), "no thinking");
        OllamaChatModel none = model().think(false).returnThinking(true).build();
        check(none.chat(ask(QUESTION)).aiMessage().thinking() == null, "thinking");
    }

    /** Thinking comes in pieces of its own. */
    private void thinkStream() throws Exception {
        OllamaStreamingChatModel model = streaming().think(true).returnThinking(true).build();
        Reading reading = read(model, ask(QUESTION));
        check(reading.thinking.length() > 0 && !reading.pieces.isEmpty(), reading.pieces);
    }

    /** A picture is taken. */
    private void vision() {
        var picture = ImageContent.from(PNG, "image/png");
        checkWhole(model().build().chat(said(UserMessage.from(TextContent.from(QUESTION), picture))));
    }

    /** A prompt is answered in one piece. */
    private void generate() {
        var model = OllamaLanguageModel.builder().baseUrl(url).modelName(chat).maxRetries(0).build();
        check(!model.generate(QUESTION).content().isEmpty(), "no text");
    }

    /** A prompt is answered in pieces. */
    private void generateStream() throws Exception {
        List<String> pieces = new ArrayList<>();
        CompletableFuture<Integer> ended = new CompletableFuture<>();
        var model = OllamaStreamingLanguageModel.builder().baseUrl(url).modelName(chat).build();
        model.generate(
                QUESTION,
                new StreamingResponseHandler<String>() {
                    @Override
                    public void onNext(String text) {
                        pieces.add(text);
                    }

                    @Override
                    public void onComplete(Response<String> response) {
                        ended.complete(response.tokenUsage().outputTokenCount());
                    }

                    @Override
                    public void onError(Throwable error) {
                        ended.completeExceptionally(error);
                    }
                });
        check(ended.get(LIMIT_S, TimeUnit.SECONDS) > 0 && pieces.size() > 2, pieces);
    }

    /** Vectors of one text and of two, each of length one. */
    private void embed() {
        var model =
                OllamaEmbeddingModel.builder().baseUrl(url).modelName(embedding).maxRetries(0).build();
        checkUnit(model.embed("harbour").content().vector());
        var two = List.of(TextSegment.from("harbour"), TextSegment.from("fog"));
        var vectors = model.embedAll(two).content();
        check(vectors.size() == 2, vectors.size());
        vectors.forEach(one -> checkUnit(one.vector()));
    }

    /** A model that is not there is refused as one that is not there. */
    private void missingModel() {
        OllamaChatModel model = model().modelName(MISSING_MODEL).build();
        try {
            model.chat(ask(QUESTION));
        } catch (ModelNotFoundException refused) {
            check(refused.getMessage().contains("not found"), refused.getMessage());
            return;
        }
        throw new IllegalStateException("not so: no error was thrown");
    }

    /** A streamed chat with a model that is not there. */
    private void missingModelStream() throws Exception {
        OllamaStreamingChatModel model = streaming().modelName(MISSING_MODEL).build();
        Throwable error = refusalOf(model, QUESTION);
        check(String.valueOf(error.getMessage()).contains("not found"), error);
    }

    /** Vectors of a model that is not there. */
    private void missingModelEmbed() {
        var builder = OllamaEmbeddingModel.builder().baseUrl(url).modelName(MISSING_MODEL);
        try {
            builder.maxRetries(0).build().embed("harbour");
        } catch (RuntimeException refused) {
            check(String.valueOf(refused.getMessage()).contains("not found"), refused);
            return;
        }
        throw new IllegalStateException("not so: no error was thrown");
    }

    /** An answer that breaks off ends in an error. */
    private void streamBreaksOff() throws Exception {
        refusalOf(streaming().build(), BROKEN_QUESTION);
    }

    private static Throwable refusalOf(OllamaStreamingChatModel model, String question)
            throws Exception {
        try {
            read(model, ask(question));
        } catch (ExecutionException failed) {
            return failed.getCause();
        }
        throw new IllegalStateException("not so: no error was told");
    }

    /** A client that leaves a stream early can go on. */
    private void streamAbort() throws Exception {
        CompletableFuture<String> first = new CompletableFuture<>();
        var handler =
                new StreamingChatResponseHandler() {
                    @Override
                    public void onPartialResponse(
                            PartialResponse part, PartialResponseContext context) {
                        context.streamingHandle().cancel();
                        first.complete(part.text());
                    }

                    @Override
                    public void onCompleteResponse(ChatResponse response) {
                        first.completeExceptionally(new IllegalStateException("it ended"));
                    }

                    @Override
                    public void onError(Throwable error) {
                        first.completeExceptionally(error);
                    }
                };
        streaming().think(false).build().chat(ask(HELD_QUESTION), handler);
        check(!first.get(LIMIT_S, TimeUnit.SECONDS).isEmpty(), "an empty piece");
        checkWhole(model().build().chat(ask(QUESTION)));
    }

    /** Runs the scenarios that the command line names, by default all. */
    public static void main(String[] arguments) throws Exception {
        if (arguments.length < 3) {
            System.err.println("usage: Driver URL CHAT EMBEDDING [NAME...]");
            System.exit(2);
        }
        var all = new Driver(arguments[0], arguments[1], arguments[2]).scenarios();
        List<String> named = Arrays.asList(arguments).subList(3, arguments.length);
        boolean held = true;
        for (String name : named.isEmpty() ? all.keySet() : named) {
            if (!all.containsKey(name)) {
                System.err.println("no scenario " + name + "; there are " + all.keySet());
                System.exit(2);
            }
            String detail = "";
            try {
                all.get(name).run();
            } catch (Exception error) {
                detail = error.toString();
            }
            Map<String, Object> line = new LinkedHashMap<>();
            line.put("name", name);
            line.put("ok", detail.isEmpty());
            line.put("detail", detail);
            System.out.println(JSON.writeValueAsString(line));
            held &= detail.isEmpty();
        }
        // The client's threads would keep the program alive.
        System.exit(held ? 0 : 1);
    }
}
