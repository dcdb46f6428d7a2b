// What the Android page uses of this type of Android.
package org.json;

public class JSONException extends Exception {}
